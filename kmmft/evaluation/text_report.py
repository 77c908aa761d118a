"""The report of a run that writes texts: numbers, curves, and pictures with texts."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kmmft.data import RecordSource
from kmmft.evaluation.example_report import report_examples
from kmmft.evaluation.predictions import images_by_id
from kmmft.evaluation.report_parts import Example, Table
from kmmft.evaluation.written_texts import WrittenTexts
from kmmft.metrics import caption_tokens
from kmmft.training import RunDirectory


def report_texts(
    run: RunDirectory,
    written: WrittenTexts,
    *,
    title: str,
    source: RecordSource,
    split: str,
    metrics: Mapping[str, Any],
    tables: Sequence[Table] = (),
    notes: str = "",
    max_examples: int = 48,
) -> pathlib.Path:
    """Writes a run's `report.html`: numbers, curves, and what was written.

    Args:
        run: The run's directory.
        written: Texts about the test split.
        title: Heading.
        source: Where the test records are.
        split: Name of the test split.
        metrics: The run's metrics, flat.
        tables: Result tables.
        notes: A sentence or two on what was run.
        max_examples: Number of pictures to show, evenly over the split.

    Returns:
        The path of the page.
    """
    return report_examples(
        run,
        _examples(written, source, split, max_examples),
        title=title,
        metrics=metrics,
        tables=tables,
        notes=notes,
    )


def caption_table(metrics: Mapping[str, float], names: Mapping[str, str]) -> Table:
    """Captioning's metrics, a row for each method.

    Args:
        metrics: Flat, as `test/bleu_4`.
        names: Name of each row by the prefix of its metrics; the last is stressed.

    Returns:
        `Table`.

    Example:
        >>> scores = {"bleu_1": 0.5, "bleu_4": 0.2, "rouge_l": 0.4, "meteor": 0.3}
        >>> metrics = {f"test/{k}": v for k, v in {**scores, "cider_d": 1.25}.items()}
        >>> kmmft.evaluation.caption_table(metrics, {"test": "this model"}).rows
        [['this model', 0.5, 0.2, 0.4, 0.3, '1.250']]
    """
    columns = {
        "bleu_1": "BLEU-1",
        "bleu_4": "BLEU-4",
        "rouge_l": "ROUGE-L",
        "meteor": "METEOR",
    }
    return Table(
        "Captions of the whole split",
        ["", *columns.values(), "CIDEr-D"],
        [
            [
                name,
                *(metrics[f"{prefix}/{column}"] for column in columns),
                # Goes up to 10: no share.
                f"{metrics[f'{prefix}/cider_d']:.3f}",
            ]
            for prefix, name in names.items()
        ],
        highlight=len(names) - 1,
        note="METEOR matches equal words and stems. CIDEr-D goes up to 10.",
    )


def _examples(written, source, split, most) -> list[Example]:
    places = np.linspace(0, len(written.ids) - 1, min(most, len(written.ids)))
    shown = sorted({int(place) for place in places})
    images = images_by_id(source, split, {written.ids[row] for row in shown})
    return [
        Example(
            image=images.get(written.ids[row]),
            text=" · ".join(written.references[row][1:]),
            target=_same_words(written.texts[row], written.references[row]),
            prediction=written.texts[row],
            id=written.ids[row],
        )
        for row in shown
    ]


def _same_words(text: str, references: list[str]) -> str:
    """The text itself if a reference has the same words, else the first reference."""
    words = caption_tokens(text)
    if any(caption_tokens(reference) == words for reference in references):
        return text
    return references[0]
