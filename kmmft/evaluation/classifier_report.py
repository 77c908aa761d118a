"""The report of a run that answers: a classifier's, or one of written answers."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from kmmft.data import RecordSource
from kmmft.evaluation.answered_records import AnsweredRecords
from kmmft.evaluation.classification import confusion_matrix
from kmmft.evaluation.example_report import report_examples
from kmmft.evaluation.predictions import show_examples
from kmmft.evaluation.report_parts import Confusion, Table
from kmmft.training import RunDirectory


def report_classifier(
    run: RunDirectory,
    predictions: AnsweredRecords,
    *,
    title: str,
    source: RecordSource,
    split: str,
    class_names: Sequence[str],
    text: str,
    metrics: Mapping[str, Any],
    tables: Sequence[Table] = (),
    sections: Sequence[str] = (),
    notes: str = "",
) -> pathlib.Path:
    """Writes a run's `report.html`: numbers, curves, confusion and mistakes.

    Args:
        run: The run's directory.
        predictions: Answers to the test split: `Predictions`, or `WrittenAnswers`.
        title: Heading.
        source: Where the test records are.
        split: Name of the test split.
        class_names: Names of the classes.
        text: Feature of the records to show beside their pictures.
        metrics: The run's metrics, flat.
        tables: Result tables.
        sections: More `<section>` elements, such as charts.
        notes: A sentence or two on what was run.

    Returns:
        The path of the page.
    """
    return report_examples(
        run,
        show_examples(predictions, source, split, class_names, text),
        title=title,
        metrics=metrics,
        tables=tables,
        sections=sections,
        confusion=Confusion(
            confusion_matrix(
                predictions.records["label"], predictions.classes, len(class_names)
            ),
            class_names,
        ),
        notes=notes,
    )
