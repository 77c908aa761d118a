"""Writes a run's results as one self-contained page."""

import datetime
import importlib.resources
import numbers
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kmmft.evaluation import report_figures, report_text
from kmmft.evaluation.environment import environment
from kmmft.evaluation.report_parts import Confusion, Example, Table
from kmmft.training.whole_files import write_whole

MAX_TABLE_CLASSES = 20
MAX_PAIRS = 12
TINY_PIXELS = 100


def write_report(
    path: str | os.PathLike,
    *,
    title: str,
    metrics: Mapping[str, float],
    history: Mapping[str, Sequence[float]],
    examples: Sequence[Example],
    confusion: Confusion | None,
    config: Mapping[str, Any],
    tables: Sequence[Table] = (),
    sections: Sequence[str] = (),
    notes: str = "",
) -> pathlib.Path:
    """Writes numbers, curves, pictures and configuration as one HTML page.

    The page loads nothing from anywhere and suits light and dark, wide and narrow
    screens. Names of the metrics tell their units: `accuracy`, `f1`, `recall` and
    `precision` are shares, `train/seconds` is the training time, `peak_memory_mb`
    the peak memory. A group's accuracy (`test/accuracy/yes_no`) gets a row of its
    own table, with its interval where `test/accuracy_low/yes_no` and
    `test/accuracy_high/yes_no` are there too.

    Args:
        path: File to write. It is replaced in one step.
        title: Heading of the page.
        metrics: Final numbers, flat, the most important first.
        history: Values after each epoch, as in `keras.callbacks.History.history`.
        examples: Answered test examples. Mistakes are put first.
        confusion: The confusion matrix, or None.
        config: The resolved configuration; it may be nested.
        tables: Result tables, such as the model among its floors.
        sections: Further `<section>` elements, put behind the examples. HTML, which
            is taken as it is.
        notes: A paragraph below the heading.

    Returns:
        The path.

    Raises:
        ValueError: If an example's image cannot be read.

    Example:
        >>> path = kmmft.evaluation.write_report(
        ...     "report.html",
        ...     title="Quickstart",
        ...     metrics={"test/accuracy": 0.98},
        ...     history={},
        ...     examples=[],
        ...     confusion=None,
        ...     config={"epochs": 3},
        ... )
    """
    import jinja2
    import markupsafe

    source = importlib.resources.files("kmmft.evaluation") / "report.html.jinja"
    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined
    ).from_string(source.read_text(encoding="utf-8"))
    described = environment()
    wrong = [x for x in examples if x.answered and not x.correct]
    shown = sorted(wrong, key=lambda example: -(example.confidence or 0.0))
    shown += [x for x in examples if x.correct or not x.answered]
    curves = [
        {
            "label": report_text.metric_label(name),
            "svg": markupsafe.Markup(svg),
            "summary": s,
        }
        for name, svg, s in report_figures.curves(history)
    ]
    page = template.render(
        title=title,
        notes=notes,
        written=datetime.datetime.now().astimezone(),
        headline=[_tile(name, metrics) for name in report_text.headline_names(metrics)],
        all_metrics=[
            (name, report_text.metric_value(name, value))
            for name, value in metrics.items()
        ],
        has_intervals=any(report_text.is_bound(name) for name in metrics),
        tables=[_table(table) for table in [*tables, *_group_tables(metrics)]],
        curves=curves,
        has_validation=any(name.startswith("val_") for name in history),
        epochs=_epochs(history),
        examples=[_example(example) for example in shown],
        answered=any(example.answered for example in examples),
        mistakes=len(wrong),
        sections=[markupsafe.Markup(section) for section in sections],
        confusion=_confusion(confusion) if confusion else None,
        config=report_text.flatten(config),
        environment=report_text.flatten(described),
        version=described.get("kmmft", ""),
    )
    return write_whole(pathlib.Path(path), page)


def _tile(name: str, metrics: Mapping[str, float]) -> dict[str, str]:
    interval = report_text.interval(name, metrics)
    return {
        "label": report_text.metric_label(name),
        "value": report_text.metric_value(name, metrics[name]),
        "aside": f"interval {interval}" if interval else "",
    }


def _group_tables(metrics: Mapping[str, float]) -> list[Table]:
    rows = {}
    for name, value in metrics.items():
        found = re.fullmatch(r"(|.+/)accuracy/(.+)", name)
        if found:
            prefix, group = found.groups()
            interval = report_text.interval(name, metrics) or None
            count = metrics.get(f"{prefix}examples/{group}")
            row = [group.replace("_", " "), float(value), interval, count]
            rows.setdefault(prefix, []).append(row)
    header = ["Group", "Accuracy", "95 % interval", "Examples"]
    return [
        Table(report_text.metric_label(f"{prefix}accuracy by group"), header, table)
        for prefix, table in rows.items()
    ]


def _table(table: Table) -> dict[str, Any]:
    columns = list(zip(*table.rows, strict=True))
    shares = [_is_share_column(column) for column in columns]
    numeric = [
        not share and all(v is None or isinstance(v, numbers.Real) for v in column)
        for share, column in zip(shares, columns, strict=True)
    ] or [False] * len(table.header)
    rows = []
    for row in table.rows:
        cells = []
        for value, share, number in zip(row, shares, numeric, strict=True):
            bar = share and value is not None
            text = report_text.percent(value) if bar else report_text.plain(value)
            cells.append(
                {
                    "text": text,
                    "share": float(value) if bar else None,
                    "number": number,
                    "short": len(text) <= 16,
                }
            )
        rows.append(cells)
    return {
        "title": table.title,
        "header": table.header,
        "rows": rows,
        "number": numeric,
        "highlight": table.highlight,
        "note": table.note,
    }


def _is_share_column(column: Sequence[Any]) -> bool:
    present = [value for value in column if value is not None]
    return bool(present) and all(
        isinstance(value, numbers.Real)
        and not isinstance(value, numbers.Integral)
        and 0 <= value <= 1
        for value in present
    )


def _epochs(history: Mapping[str, Sequence[float]]) -> dict[str, list]:
    length = max((len(values) for values in history.values()), default=0)
    return {
        "header": [report_text.metric_label(name) for name in history],
        "rows": [
            [
                report_text.metric_value(name, float(values[epoch]))
                if epoch < len(values)
                else ""
                for name, values in history.items()
            ]
            for epoch in range(length)
        ],
    }


def _example(example: Example) -> dict[str, Any]:
    uri, side = None, 0
    if example.image is not None:
        uri, side = report_figures.image_uri(example.image)
    sure = example.confidence
    return {
        "uri": uri,
        # Blocks are truer than a blur where a picture is drawn much larger.
        "tiny": side <= TINY_PIXELS,
        "id": example.id,
        "text": example.text,
        "target": example.target,
        "prediction": example.prediction,
        "correct": example.correct,
        "confidence": None if sure is None else report_text.percent(float(sure)),
        "share": sure,
    }


def _confusion(confusion: Confusion) -> dict[str, Any]:
    matrix, names = np.asarray(confusion.matrix), confusion.class_names
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    wrong = matrix * (1 - np.eye(len(matrix), dtype=matrix.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_PAIRS]
    pairs = [
        {
            "true": names[i],
            "predicted": names[j],
            "count": report_text.plain(int(matrix[i, j])),
            "share": report_text.percent(float(share[i, j])),
        }
        for i, j in zip(*np.unravel_index(order, matrix.shape), strict=True)
        if wrong[i, j]
    ]
    shown = {"class_names": names, "pairs": pairs, "cells": None, "uri": None}
    if len(names) > MAX_TABLE_CLASSES:
        return shown | {"uri": report_figures.confusion_image(matrix)}
    cells = [
        [
            {
                "count": int(count),
                "text": report_text.plain(int(count)),
                # The root lifts rare confusions into sight.
                "share": round(float(part if i == j else np.cbrt(part)), 3),
            }
            for j, (count, part) in enumerate(zip(*row, strict=True))
        ]
        for i, row in enumerate(zip(matrix, share, strict=True))
    ]
    return shown | {"cells": cells}
