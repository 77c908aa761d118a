"""The files to label: one a round, written here and filled in by the user."""

import csv
import dataclasses
import difflib
import io
import pathlib
from collections.abc import Sequence

from kmmft.training.whole_files import write_whole
from tfrecords_tools.bad_rows import BadRows, Place
from tfrecords_tools.sources.class_names import sorted_class_names
from tfrecords_tools.sources.manifest_rows import read_rows

from .manifest import Row
from .settings import Config

COLUMNS = ("id", "image", "text", "predicted_label", "score", "label")


@dataclasses.dataclass(frozen=True)
class Rounds:
    """What the files of earlier rounds hold.

    Attributes:
        number: How many there are.
        label_of: Labels by id, those that were filled in.
        offered: All their ids. What was left empty is not offered again.
    """

    number: int
    label_of: dict[str, str]
    offered: set[str]


def round_file(folder: pathlib.Path, number: int) -> pathlib.Path:
    return folder / f"round_{number:03d}.csv"


def read_rounds(folder: pathlib.Path, ids: set[str], skip_bad: bool = False) -> Rounds:
    """Reads all files to label.

    Args:
        folder: Where they are.
        ids: Ids of the manifest.
        skip_bad: Whether rows that cannot be read are left out: they are offered
            again.

    Raises:
        ValueError: If nothing in the last one is filled in, an id is unknown or has two
            labels in one file, or a row cannot be read and is not to be left out.
    """
    number, label_of, offered = 0, {}, set()
    while (file := round_file(folder, number + 1)).exists():
        number += 1
        filled = {}
        for place, row in read_rows(file, ["id", "label"], BadRows(skip_bad)):
            name, label = row["id"].strip(), row["label"].strip()
            if name not in ids:
                raise ValueError(
                    f"{place}: an id must be one of the manifest's. Received: {name!r}."
                    " Put back what was there, or take the line out."
                )
            offered.add(name)
            if label:
                _check_agrees(
                    place, name, label, *filled.setdefault(name, (label, place))
                )
        label_of |= {name: label for name, (label, _) in filled.items()}
        if not filled and not round_file(folder, number + 1).exists():
            raise ValueError(
                f"The file of round {number} must have labels. Received: none in its "
                f"column 'label'. Fill them in in {file}, as far as you know them, and "
                "give the same command again."
            )
    return Rounds(number, label_of, offered)


def _check_agrees(
    place: Place, name: str, label: str, before: str, place_before: Place
) -> None:
    if label != before:
        raise ValueError(
            f"{place}: an id must have one label. Received: {label!r} for {name!r}, "
            f"which is {before!r} in line {place_before.line}. Take one of them out."
        )


def write_round(
    folder: pathlib.Path,
    number: int,
    rows: Sequence[Row],
    predicted: Sequence[str],
    scores: Sequence[float],
) -> pathlib.Path:
    """Writes the next file to label, with an empty column `label`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", extrasaction="ignore")
    writer.writeheader()
    for row, label, score in zip(rows, predicted, scores, strict=True):
        told = {"predicted_label": label, "score": f"{score:.4f}", "label": ""}
        writer.writerow({**row, **told})
    return write_whole(round_file(folder, number), text.getvalue())


def known_classes(config: Config, rows: Sequence[Row], rounds: Rounds) -> list[str]:
    """Names of the classes, after looking for labels that are none of them.

    Raises:
        ValueError: If a label is no class.
    """
    manifest = {row["label"] for row in rows if row["label"]}
    names = list(config.class_names) or sorted_class_names(manifest)
    given = {row["id"]: row["label"] for row in rows if row["label"]}
    if not config.class_names and len(names) < 2:
        # Nothing says what else there may be.
        return sorted_class_names(manifest | set(rounds.label_of.values()))
    for name, label in {**given, **rounds.label_of}.items():
        if label not in names:
            near = difflib.get_close_matches(label, names, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise ValueError(
                f"A label must be a class: {', '.join(names)}. Received: {label!r} for "
                f"id {name!r}. {hint}New classes must be told by `--class_names`."
            )
    return names
