"""How good a model is, how sure that is, and the page that shows it."""

from kmmft.evaluation.classification import (
    classification_metrics,
    confusion_matrix,
    majority_floor,
    question_only_floor,
    wilson_interval,
)
from kmmft.evaluation.classifier_report import report_classifier
from kmmft.evaluation.environment import environment, peak_memory_mb
from kmmft.evaluation.predictions import (
    Predictions,
    predict_records,
    show_examples,
)
from kmmft.evaluation.question_answer_floors import question_answer_floors
from kmmft.evaluation.report import write_report
from kmmft.evaluation.report_parts import Confusion, Example, Table
from kmmft.evaluation.terminal import print_line, print_table

__all__ = [
    "Confusion",
    "Example",
    "Predictions",
    "Table",
    "classification_metrics",
    "confusion_matrix",
    "environment",
    "majority_floor",
    "peak_memory_mb",
    "predict_records",
    "print_line",
    "print_table",
    "question_answer_floors",
    "question_only_floor",
    "report_classifier",
    "show_examples",
    "wilson_interval",
    "write_report",
]
