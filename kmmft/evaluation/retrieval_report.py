"""The report of a retrieval model's run: numbers, curves, and what is found."""

import importlib.resources
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kmmft.data import RecordSource
from kmmft.evaluation import report_figures
from kmmft.evaluation.predictions import images_by_id
from kmmft.evaluation.record_vectors import RecordVectors
from kmmft.evaluation.report import write_report
from kmmft.evaluation.report_parts import Table
from kmmft.evaluation.search_index import SearchIndex
from kmmft.training import RunDirectory

_CURVES = ("loss", "mean_recall", "recall_at_1", "logit_scale", "accuracy")


def report_retrieval(
    run: RunDirectory,
    encoded: RecordVectors,
    *,
    title: str,
    source: RecordSource,
    split: str,
    metrics: Mapping[str, Any],
    tables: Sequence[Table] = (),
    notes: str = "",
    num_questions: int = 10,
    top: int = 5,
) -> pathlib.Path:
    """Writes a run's `report.html`: numbers, curves, and pictures that words find.

    Args:
        run: The run's directory.
        encoded: The test split, as `RetrievalEvaluator.encode` returns it, with the
            modalities `image` and `text`.
        title: Heading.
        source: Where the test records are; they have an `id`.
        split: Name of the test split.
        metrics: The run's metrics, flat.
        tables: Result tables.
        notes: A sentence or two on what was run.
        num_questions: How many searches to show in each direction, evenly over the
            split.
        top: How much of what is found to show.

    Returns:
        The path of the page.
    """
    rows = run.history()
    names = dict.fromkeys(
        name for row in rows for name in row if name.endswith(_CURVES)
    )
    return write_report(
        run.report,
        title=title,
        metrics=metrics,
        history={name: [row.get(name) for row in rows] for name in names},
        examples=[],
        confusion=None,
        config=run.config,
        tables=tables,
        sections=[found_section(encoded, source, split, num_questions, top)],
        notes=notes,
    )


def retrieval_table(
    metrics: Mapping[str, float],
    names: Mapping[str, str],
    modalities: tuple[str, str] = ("image", "text"),
    ks: Sequence[int] = (1, 5, 10),
) -> Table:
    """Recalls in both directions, a row for each method.

    Args:
        metrics: Flat, as `test/image_to_text/recall_at_1`.
        names: Name of each row by the prefix of its metrics, as `{"test": "this
            model"}`. Prefixes that are not among the metrics are left out; the last
            row is stressed.
        modalities: As `names` of `kmmft.metrics.two_way_retrieval`.
        ks: As there; those that were not measured are left out.

    Returns:
        `Table`.

    Example:
        >>> metrics = {"test/image_to_text/recall_at_1": 0.5}
        >>> kmmft.evaluation.retrieval_table(metrics, {"test": "this model"}).rows
        [['this model', 0.5]]
    """
    first, second = modalities
    columns = {
        f"{a}_to_{b}/recall_at_{k}": f"{a} → {b} R@{k}"
        for a, b in ((first, second), (second, first))
        for k in ks
    }
    measured = {
        key: [f"{key}/{column}" in metrics for column in columns] for key in names
    }
    keys = [key for key in names if any(measured[key])]
    shown = [
        column
        for place, column in enumerate(columns)
        if any(measured[key][place] for key in keys)
    ]
    return Table(
        "Recall over the whole split",
        ["", *(columns[column] for column in shown)],
        [
            [names[key], *(metrics.get(f"{key}/{column}") for column in shown)]
            for key in keys
        ],
        highlight=len(keys) - 1,
    )


def found_section(
    encoded: RecordVectors,
    source: RecordSource,
    split: str,
    num_questions: int = 10,
    top: int = 5,
) -> str:
    """What words and pictures find in a split, as a section of a report.

    Args:
        encoded: As in `report_retrieval`.
        source: Likewise.
        split: Likewise.
        num_questions: Likewise.
        top: Likewise.

    Returns:
        A `<section>` element. Each picture is in it once for each time it is found.
    """
    import jinja2

    number = len(encoded.ids)
    step = max(number // num_questions, 1)
    asked = np.arange(0, number, step)[:num_questions]
    by_text, by_image = _search(encoded, asked, top)
    shown = {search["record"] for search in by_image}
    shown |= {hit["record"] for search in by_text for hit in search["hits"]}
    images = images_by_id(source, split, {encoded.ids[record] for record in shown})
    uris = {
        record: report_figures.image_uri(images[encoded.ids[record]])[0]
        for record in shown
    }
    for search in by_image:
        search["uri"] = uris[search["record"]]
    for hit in (hit for search in by_text for hit in search["hits"]):
        hit["uri"] = uris[hit["record"]]
    template = (
        importlib.resources.files("kmmft.evaluation") / "retrieval_report.html.jinja"
    )
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        by_text=by_text,
        by_image=by_image,
        top=top,
        every=f"{_ordinal(step)} " if step > 1 else "",
    )


def _search(
    encoded: RecordVectors, asked: np.ndarray, top: int
) -> tuple[list[dict], list[dict]]:
    images, texts = encoded.vectors["image"], encoded.vectors["text"]
    owner = encoded.record_of["text"]
    words = encoded.texts["text"]
    # The first text of each record that asks, which may have several.
    first = np.searchsorted(owner, asked)
    hits = _nearest(texts[first], images, top)
    by_text = [
        {
            "text": words[text],
            "rank": _place(texts[text], images, np.arange(len(images)) == record),
            "hits": [
                _hit(words[np.searchsorted(owner, row)], row, score, row == record)
                for row, score in zip(*found, strict=True)
            ],
        }
        for record, text, found in zip(asked, first, hits, strict=True)
    ]
    hits = _nearest(images[asked], texts, top)
    by_image = [
        {
            "record": int(record),
            "text": words[text],
            "rank": _place(images[record], texts, owner == record),
            "hits": [
                _hit(words[row], owner[row], score, owner[row] == record)
                for row, score in zip(*found, strict=True)
            ],
        }
        for record, text, found in zip(asked, first, hits, strict=True)
    ]
    return by_text, by_image


def _nearest(
    questions: np.ndarray, candidates: np.ndarray, top: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    index = SearchIndex(candidates)
    rows, scores = index.search_rows(questions, min(top, len(index)))
    return list(zip(rows, scores, strict=True))


def _hit(text: str, record: int, score: float, own: bool) -> dict[str, Any]:
    return {
        "text": text,
        "record": int(record),
        "score": f"{score:.2f}",
        "own": bool(own),
    }


def _place(question: np.ndarray, candidates: np.ndarray, own: np.ndarray) -> str:
    cosines = candidates @ question
    better = int((cosines[~own] > cosines[own].max()).sum())
    return f"its own is {_ordinal(better + 1)} of {len(candidates):,}"


def _ordinal(number: int) -> str:
    ending = "th"
    if number % 100 not in (11, 12, 13):
        ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"
