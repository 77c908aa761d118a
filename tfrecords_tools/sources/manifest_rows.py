"""Reads the rows of a CSV, TSV, JSONL or Parquet manifest, each with its number."""

import csv
import difflib
import logging
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from tfrecords_tools.bad_rows import BadRows, Place
from tfrecords_tools.sources.json_values import load_json

_logger = logging.getLogger(__name__)

_ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")
_NOT_UTF8 = "The line is not valid UTF-8; save the file as UTF-8."


def read_rows(
    manifest: pathlib.Path, columns: Sequence[str], bad_rows: BadRows
) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yields the rows of a manifest that have all the columns asked for.

    CSV and TSV have a header line. CSV fields may stand in double quotes; TSV is read
    without quoting, so that a lone quotation mark in a caption swallows no rows.
    Blank lines are passed over.

    Args:
        manifest: Path that ends in .csv, .tsv, .jsonl or .parquet.
        columns: Names of the columns that every row must have.
        bad_rows: Takes the rows that cannot be read.

    Yields:
        Place and dict from column to value. CSV and TSV values are strings.

    Raises:
        ValueError: If the file is missing, of another kind or empty, or its header
            lacks a column.
    """
    if manifest.suffix.lower() not in _ENDINGS:
        raise ValueError(
            f"A manifest must end in {', '.join(_ENDINGS)}. Received: {manifest}; "
            "convert or rename it."
        )
    if not manifest.is_file():
        raise ValueError(
            f"The manifest must be a file. Received: {manifest}, which "
            f"{'is a directory' if manifest.exists() else 'does not exist'}; "
            "mend the path."
        )
    readers = {".jsonl": _read_jsonl, ".parquet": _read_parquet}
    read = readers.get(manifest.suffix.lower(), _read_delimited)
    empty = True
    for row in read(manifest, columns, bad_rows):
        empty = False
        yield row
    if empty and not bad_rows.found:
        raise ValueError(
            f"A manifest must have at least one row. Received: {manifest}, which has "
            "none; fill it."
        )


def missing_column(name: str, present: Sequence[str]) -> str:
    """Says that a column is missing, and which present one may be meant."""
    # Lower case, so that "Caption" is near "caption".
    by_lower = {str(column).lower(): str(column) for column in present}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    hint = f"did you mean {by_lower[near[0]]!r}? " if near else ""
    return (
        f"There is no column {name!r}; {hint}The columns are "
        f"{', '.join(repr(str(column)) for column in present)}."
    )


def _read_jsonl(
    manifest: pathlib.Path, columns: Sequence[str], bad_rows: BadRows
) -> Iterator[tuple[Place, dict[str, Any]]]:
    with open(manifest, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            place = Place(manifest.name, number)
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                if not text:
                    continue
                row = load_json(text)
            except UnicodeDecodeError:
                bad_rows.add(place, _NOT_UTF8)
                continue
            except (ValueError, RecursionError) as error:
                bad_rows.add(place, f"The line is not valid JSON ({error}); mend it.")
                continue
            if not isinstance(row, dict):
                bad_rows.add(
                    place, f"The line must be a JSON object, not {text[:40]!r}."
                )
                continue
            missing = [column for column in columns if column not in row]
            if missing:
                bad_rows.add(place, missing_column(missing[0], list(row)))
                continue
            yield place, row


def _read_parquet(
    manifest: pathlib.Path, columns: Sequence[str], bad_rows: BadRows
) -> Iterator[tuple[Place, dict[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(manifest)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(
            f"A .parquet manifest must be a Parquet file. Received: {manifest} "
            f"({error}); write it again."
        ) from error
    with file:
        present = file.schema_arrow.names
        _check_header(manifest.name, columns, present)
        number = 0
        for batch in file.iter_batches(columns=list(columns)):
            for row in batch.to_pylist():
                number += 1
                yield Place(manifest.name, number), row


def _read_delimited(
    manifest: pathlib.Path, columns: Sequence[str], bad_rows: BadRows
) -> Iterator[tuple[Place, dict[str, Any]]]:
    rows = _delimited_fields(manifest, bad_rows)
    header_place, header = next(rows, (None, []))
    if bad_rows.found:
        # The next row must not pass for the header.
        place, reason = bad_rows.found[0]
        raise ValueError(f"{place}: {reason}")
    if not header:
        return
    _check_header(header_place, columns, header)
    for place, fields in rows:
        if len(fields) != len(header):
            bad_rows.add(
                place,
                f"The row has {len(fields)} fields, the header {len(header)}; quote "
                "fields that contain the delimiter."
                if manifest.suffix.lower() == ".csv"
                else f"The row has {len(fields)} fields, the header {len(header)}; "
                "take tabs and line breaks out of fields, or use CSV.",
            )
            continue
        yield place, dict(zip(header, fields, strict=True))


def _check_header(
    place: Place | str, columns: Sequence[str], present: Sequence[str]
) -> None:
    for column in columns:
        if column not in present:
            raise ValueError(f"{place}: {missing_column(column, present)}")
        if present.count(column) > 1:
            raise ValueError(
                f"{place}: The column {column!r} stands there "
                f"{present.count(column)} times; rename the others."
            )


def _delimited_fields(
    manifest: pathlib.Path, bad_rows: BadRows
) -> Iterator[tuple[Place, list[str]]]:
    """The fields of each row; the place is the row's first line."""
    is_csv = manifest.suffix.lower() == ".csv"
    # Bytes that are not UTF-8 become surrogates, to be found in their own row.
    with open(
        manifest, encoding="utf-8-sig", errors="surrogateescape", newline=""
    ) as lines:
        reader = csv.reader(
            lines,
            delimiter="," if is_csv else "\t",
            quoting=csv.QUOTE_MINIMAL if is_csv else csv.QUOTE_NONE,
            strict=True,
        )
        quoted = False
        while True:
            place = Place(manifest.name, reader.line_num + 1)
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                bad_rows.add(
                    place, f"The row cannot be read ({error}); mend its quotes."
                )
                continue
            if any("\udc80" <= char <= "\udcff" for char in "".join(fields)):
                bad_rows.add(place, _NOT_UTF8)
            elif fields:
                yield place, fields
                if not is_csv and not quoted:
                    quoted = _warn_of_quotes(place, fields)


def _warn_of_quotes(place: Place, fields: list[str]) -> bool:
    for field in fields:
        if len(field) > 1 and field[0] == field[-1] == '"':
            _logger.warning(
                "%s: a field stands in double quotes, which are kept: %.60s. "
                "If a program put them there, save the manifest as CSV.",
                place,
                field,
            )
            return True
    return False
