"""The report of a run whose answers are texts, numbers or tags."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from kmmft.evaluation.report import write_report
from kmmft.evaluation.report_parts import Confusion, Example, Table
from kmmft.training import RunDirectory


def report_examples(
    run: RunDirectory,
    examples: Sequence[Example],
    *,
    title: str,
    metrics: Mapping[str, Any],
    tables: Sequence[Table] = (),
    sections: Sequence[str] = (),
    confusion: Confusion | None = None,
    notes: str = "",
) -> pathlib.Path:
    """Writes a run's `report.html`: numbers, curves, and some examples.

    Args:
        run: The run's directory.
        examples: Answered test examples.
        title: Heading.
        metrics: The run's metrics, flat.
        tables: Result tables.
        sections: More `<section>` elements, such as charts.
        confusion: The confusion matrix, if there is one.
        notes: A sentence or two on what was run.

    Returns:
        The path of the page.
    """
    rows = run.history()
    names = dict.fromkeys(name for row in rows for name in row if name != "epoch")
    return write_report(
        run.report,
        title=title,
        metrics=metrics,
        history={name: [row.get(name) for row in rows] for name in names},
        examples=examples,
        confusion=confusion,
        config=run.config,
        tables=tables,
        sections=sections,
        notes=notes,
    )
