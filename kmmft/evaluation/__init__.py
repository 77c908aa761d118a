"""How good a model is, how sure that is, and the page that shows it."""

from kmmft.evaluation.caption_evaluator import CaptionEvaluator
from kmmft.evaluation.caption_floors import caption_floors
from kmmft.evaluation.classification import (
    classification_metrics,
    confusion_matrix,
    majority_floor,
    question_only_floor,
    wilson_interval,
)
from kmmft.evaluation.classifier_report import report_classifier
from kmmft.evaluation.clips import animated_clip
from kmmft.evaluation.compression import Compression, compression_recall
from kmmft.evaluation.core_set import core_set
from kmmft.evaluation.drift_chart import drift_section
from kmmft.evaluation.environment import environment, peak_memory_mb
from kmmft.evaluation.epoch_evaluator import EpochEvaluator
from kmmft.evaluation.example_report import report_examples
from kmmft.evaluation.explain import Explanation, explain
from kmmft.evaluation.explain_faithfulness import deletion_insertion
from kmmft.evaluation.explain_section import explanation_section, heat_overlay
from kmmft.evaluation.feature_probe import feature_probe
from kmmft.evaluation.forgetting import ForgettingMeter
from kmmft.evaluation.forgetting_result import Forgetting
from kmmft.evaluation.frozen_features import (
    frozen_features,
    head_on_features,
    predict_subsets_of_features,
)
from kmmft.evaluation.interpolation_chart import interpolation_section
from kmmft.evaluation.layer_similarity import linear_cka
from kmmft.evaluation.method_comparison import (
    compare_methods,
    method_charts,
    method_metrics,
    method_prefix,
    method_table,
)
from kmmft.evaluation.missing_modalities import (
    modality_subsets,
    predict_subsets,
    subset_metrics,
    subset_table,
)
from kmmft.evaluation.own_captions import own_caption_share
from kmmft.evaluation.pareto_chart import pareto_front, pareto_section
from kmmft.evaluation.predictions import (
    Predictions,
    predict_records,
    show_examples,
)
from kmmft.evaluation.projector import write_projector
from kmmft.evaluation.question_answer_floors import question_answer_floors
from kmmft.evaluation.record_vectors import RecordVectors, encode_records
from kmmft.evaluation.repeated_runs import (
    best_setting,
    mean_and_deviation,
    repeated_runs,
    search_and_repeat,
)
from kmmft.evaluation.report import write_report
from kmmft.evaluation.report_parts import Confusion, Example, Table
from kmmft.evaluation.retrieval_evaluator import RetrievalEvaluator
from kmmft.evaluation.retrieval_report import report_retrieval, retrieval_table
from kmmft.evaluation.ridge_baseline import (
    PENALTIES,
    PairedVectors,
    RidgeMap,
    ridge_baseline,
    ridge_maps,
)
from kmmft.evaluation.ridge_start import start_from_ridge
from kmmft.evaluation.search_index import Hit, SearchIndex
from kmmft.evaluation.search_page import SearchResult, write_search_page
from kmmft.evaluation.show_run import show_run
from kmmft.evaluation.terminal import print_line, print_table
from kmmft.evaluation.text_report import caption_table, report_texts
from kmmft.evaluation.training_cost import TrainingCost
from kmmft.evaluation.uncertainty import UNCERTAINTIES, uncertainty
from kmmft.evaluation.written_answers import (
    WrittenAnswers,
    people_agreement,
    write_answers,
)
from kmmft.evaluation.written_texts import WrittenTexts, write_about_records
from kmmft.evaluation.zero_shot import (
    TEMPLATES,
    zero_shot_metrics,
    zero_shot_predictions,
)
from kmmft.evaluation.zero_shot_evaluator import ZeroShotEvaluator

__all__ = [
    "PENALTIES",
    "TEMPLATES",
    "UNCERTAINTIES",
    "CaptionEvaluator",
    "Compression",
    "Confusion",
    "EpochEvaluator",
    "Example",
    "Explanation",
    "Forgetting",
    "ForgettingMeter",
    "Hit",
    "PairedVectors",
    "Predictions",
    "RecordVectors",
    "RetrievalEvaluator",
    "RidgeMap",
    "SearchIndex",
    "SearchResult",
    "Table",
    "TrainingCost",
    "WrittenAnswers",
    "WrittenTexts",
    "ZeroShotEvaluator",
    "animated_clip",
    "best_setting",
    "caption_floors",
    "caption_table",
    "classification_metrics",
    "compare_methods",
    "compression_recall",
    "confusion_matrix",
    "core_set",
    "deletion_insertion",
    "drift_section",
    "encode_records",
    "environment",
    "explain",
    "explanation_section",
    "feature_probe",
    "frozen_features",
    "head_on_features",
    "heat_overlay",
    "interpolation_section",
    "linear_cka",
    "majority_floor",
    "mean_and_deviation",
    "method_charts",
    "method_metrics",
    "method_prefix",
    "method_table",
    "modality_subsets",
    "own_caption_share",
    "pareto_front",
    "pareto_section",
    "peak_memory_mb",
    "people_agreement",
    "predict_records",
    "predict_subsets",
    "predict_subsets_of_features",
    "print_line",
    "print_table",
    "question_answer_floors",
    "question_only_floor",
    "repeated_runs",
    "report_classifier",
    "report_examples",
    "report_retrieval",
    "report_texts",
    "retrieval_table",
    "ridge_baseline",
    "ridge_maps",
    "search_and_repeat",
    "show_examples",
    "show_run",
    "start_from_ridge",
    "subset_metrics",
    "subset_table",
    "uncertainty",
    "wilson_interval",
    "write_about_records",
    "write_answers",
    "write_projector",
    "write_report",
    "write_search_page",
    "zero_shot_metrics",
    "zero_shot_predictions",
]
