"""Makes records from the rows of a manifest."""

import dataclasses
import math
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from tfrecords_tools.bad_rows import BadRows, Place
from tfrecords_tools.media_pair import NO_AUDIO, MediaPair
from tfrecords_tools.source_record import SourceRecord
from tfrecords_tools.sources.embedded_files import EmbeddedFile
from tfrecords_tools.sources.manifest_cells import is_empty, number_cell, text_cell
from tfrecords_tools.sources.manifest_columns import ManifestColumns
from tfrecords_tools.sources.split_names import split_name

_TEXTS = ("caption", "question", "answer", "answers", "label", "text", "text_pair")
_TEXTS += ("target_text",)
# Of these a row may have several, in a list.
_LISTS = ("caption", "answers", "target_text")


@dataclasses.dataclass(frozen=True)
class _Row:
    """A row whose values are checked.

    Attributes:
        place: Where it stands.
        id: Its id, or None without an id column.
        split: Its split, or None if nothing names one.
        group: What must not be torn apart: the group column, else the image or text.
        image: Name of the image, video or sound, or None: its path as the manifest
            means it, or the hash of what stands in the manifest itself.
        file: The same, to be read.
        texts: Text by kind; several only for those of `_LISTS`.
        cells: Number or category by column.
        target: The number to predict, or None without a target column.
    """

    place: Place
    id: str | None
    split: str | None
    group: str | None
    image: str | None
    file: pathlib.Path | EmbeddedFile | MediaPair | None
    texts: dict[str, list[str]]
    cells: dict[str, str | float]
    target: float | None

    @property
    def record(self) -> str:
        """What is the same for rows with captions, or targets, of one record."""
        if self.file is None:
            return self.texts["text"][0]
        # Two records may hold the same picture, if their ids say that they are two.
        return self.id or self.image


def manifest_records(
    rows: Iterable[tuple[Place, dict[str, Any]]],
    root: pathlib.Path,
    columns: ManifestColumns,
    bad_rows: BadRows,
    allow_missing: bool = False,
) -> list[SourceRecord]:
    """Makes records from rows.

    Args:
        rows: Where each row stands, and its values by column. The column of the split
            may be absent from a row, which is then split by a hash. In place of the
            path of an image, a row may have an `EmbeddedFile`.
        root: Folder that paths of images, videos and sounds are relative to.
        columns: Which columns hold what.
        bad_rows: Takes the rows that cannot become records.
        allow_missing: Whether a cell of an image, a text to classify, a number or a
            category may be empty, if not all of them are.

    Returns:
        The records in the order of their first rows. Rows with captions of one image,
        video or sound make one record, and so do rows with targets of one text.
    """
    checked = _read(rows, root, columns, bad_rows, allow_missing)
    if columns.caption or columns.target_text:
        records = _by_source(checked, columns, bad_rows)
    else:
        records = _by_row(checked, columns, bad_rows)
    if not records and not bad_rows.found:
        raise ValueError("There must be at least one row. Received: none; fill it.")
    if not records:
        place, reason = bad_rows.found[0]
        raise ValueError(
            f"At least one row must be good. Received: {len(bad_rows.found)} rows, all "
            f"bad, the first: {place}: {reason}"
        )
    return records


def _read(
    rows: Iterable[tuple[Place, dict[str, Any]]],
    root: pathlib.Path,
    columns: ManifestColumns,
    bad_rows: BadRows,
    allow_missing: bool,
) -> Iterator[_Row]:
    for place, row in rows:
        try:
            yield _check(place, row, root, columns, allow_missing)
        except ValueError as error:
            bad_rows.add(place, str(error))


def _check(
    place: Place,
    row: dict[str, Any],
    root: pathlib.Path,
    columns: ManifestColumns,
    allow_missing: bool,
) -> _Row:
    texts = {}
    for kind in _TEXTS:
        column = getattr(columns, kind)
        if column is None:
            continue
        value = row[column]
        several = kind in _LISTS and isinstance(value, list) and value
        if kind == "text" and allow_missing and is_empty(value):
            texts[kind] = [""]
            continue
        texts[kind] = [
            text_cell(one, column) for one in (value if several else [value])
        ]
    image, file = _media(row, columns, root, allow_missing)
    cells = _cells(row, columns, allow_missing)
    _check_not_empty(columns, image, texts, cells)
    split = None
    if columns.split in row:
        split = split_name(text_cell(row[columns.split], columns.split))
        if not split.isidentifier() or split == "all":
            raise ValueError(
                f"The column {columns.split!r} holds {split!r}, which cannot name a "
                "split; use letters, digits and '_'."
            )
    row_id = None if columns.id is None else text_cell(row[columns.id], columns.id)
    # Rows of numbers alone are split by their ids.
    group = image or next(iter(texts.get("text", [])), None) or None
    if columns.group is not None:
        group = text_cell(row[columns.group], columns.group)
    target = columns.target and number_cell(row[columns.target], columns.target)
    return _Row(place, row_id, split, group, image, file, texts, cells, target)


def _media(
    row: dict[str, Any], columns: ManifestColumns, root: pathlib.Path, may_lack: bool
) -> tuple[str | None, pathlib.Path | EmbeddedFile | MediaPair | None]:
    """Name and file of a row's image, video or sound, or of an image and a sound."""
    found = {}
    for medium in columns.all_media:
        column = getattr(columns, medium)
        if not (may_lack and is_empty(row[column])):
            found[medium] = _image(row[column], column, root)
    if not found:
        return None, None
    name, file = next(iter(found.values()))
    if len(columns.all_media) > 1:
        files = {medium: path for medium, (_, path) in found.items()}
        file = MediaPair(files.get("image"), files.get("audio"))
    return name, file


def _cells(
    row: dict[str, Any], columns: ManifestColumns, allow_missing: bool
) -> dict[str, str | float]:
    """Numbers and categories by column; NaN and the empty string are missing ones."""
    cells = {}
    for column in columns.numbers:
        missing = allow_missing and is_empty(row[column])
        cells[column] = math.nan if missing else number_cell(row[column], column)
    for column in columns.categories:
        missing = allow_missing and is_empty(row[column])
        cells[column] = "" if missing else text_cell(row[column], column)
    return cells


def _check_not_empty(
    columns: ManifestColumns,
    image: str | None,
    texts: dict[str, list[str]],
    cells: dict[str, str | float],
) -> None:
    filled = [cell for cell in cells.values() if cell == cell and cell != ""]
    if columns.label and not (image or filled or any(texts.get("text", []))):
        raise ValueError("The row has nothing but a label; fill in one column more.")


def _image(
    cell: Any, column: str, root: pathlib.Path
) -> tuple[str, pathlib.Path | EmbeddedFile]:
    """Name and file of what a cell names or holds."""
    if isinstance(cell, EmbeddedFile):
        return cell.key, cell
    name = _image_key(text_cell(cell, column), root)
    return name, root / name


def _image_key(written: str, root: pathlib.Path) -> str:
    """One name for a file, however its path is written; relative if it can be."""
    path = os.path.normpath(written)
    if os.path.isabs(path):
        below = os.path.relpath(path, root.absolute())
        path = path if below.startswith("..") else below
    return pathlib.PurePath(path).as_posix()


def _by_source(
    rows: Iterator[_Row], columns: ManifestColumns, bad_rows: BadRows
) -> list[SourceRecord]:
    """One record for each image, or text, with all that is written about it."""
    groups: dict[str, list[_Row]] = {}
    source_of_id: dict[str, str] = {}
    for row in rows:
        source = row.image or row.record
        name = f"The {'file' if row.image else 'text'} {source!r:.80}"
        group = groups.setdefault(row.record, [])
        first = group[0] if group else row
        owner = source_of_id.setdefault(row.id or source, source)
        if owner != source:
            reason = f"The id {row.id!r} belongs to {owner!r:.80} already; change one."
        elif first.split != row.split:
            reason = (
                f"{name} is in split {row.split!r} here and in "
                f"{first.split!r} on line {first.place.line}; choose one."
            )
        elif first.group != row.group:
            reason = (
                f"{name} is in group {row.group!r} here and in "
                f"{first.group!r} on line {first.place.line}; choose one."
            )
        else:
            group.append(row)
            continue
        bad_rows.add(row.place, reason)
    return [
        SourceRecord(
            group[0].split,
            _values_of(group, columns),
            group[0].file,
            tuple(row.place for row in group),
            group[0].group,
        )
        for group in groups.values()
        if group
    ]


def _values_of(group: list[_Row], columns: ManifestColumns) -> dict[str, Any]:
    first = group[0]
    if columns.caption:
        captions = [text for row in group for text in row.texts["caption"]]
        return {"id": first.id or first.image, "captions": captions}
    targets = [text for row in group for text in row.texts["target_text"]]
    return {
        "id": first.id or f"line-{first.place.line:07d}",
        "text": first.texts["text"][0],
        "targets": list(dict.fromkeys(targets)),
    }


def _by_row(
    rows: Iterator[_Row],
    columns: ManifestColumns,
    bad_rows: BadRows,
) -> list[SourceRecord]:
    line_of_id: dict[str, int | None] = {}
    records = []
    for row in rows:
        row_id = row.id or f"line-{row.place.line:07d}"
        if row_id in line_of_id:
            bad_rows.add(
                row.place,
                f"The id {row_id!r} is on line {line_of_id[row_id]} too; change one.",
            )
            continue
        line_of_id[row_id] = row.place.line
        values = {
            kind: texts if kind == "answers" else texts[0]
            for kind, texts in row.texts.items()
        } | row.cells
        values["id"] = row_id
        if row.image is None:
            values |= {"image": b""} if columns.image else {}
            values |= NO_AUDIO if columns.audio else {}
        if columns.target:
            values["label"] = row.target
        if columns.kind == "image_question_answer":
            values |= {"image_id": row.image, "question_type": ""}
        records.append(
            SourceRecord(row.split, values, row.file, (row.place,), row.group)
        )
    return records
