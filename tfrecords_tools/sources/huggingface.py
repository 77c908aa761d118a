"""Builds a data directory from the Parquet and Arrow files of Hugging Face."""

import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfrecords_tools.audio_bytes import audio_reader
from tfrecords_tools.bad_rows import BadRows, Place
from tfrecords_tools.build_options import BuildOptions
from tfrecords_tools.build_result import BuildPlan, BuildResult
from tfrecords_tools.sources.annotation_formats import Rows
from tfrecords_tools.sources.class_names import sorted_class_names
from tfrecords_tools.sources.embedded_files import EmbeddedFiles, value_at
from tfrecords_tools.sources.huggingface_files import (
    TableFile,
    class_names_in,
    find_tables,
    open_table,
)
from tfrecords_tools.sources.manifest_columns import ManifestColumns
from tfrecords_tools.sources.manifest_records import manifest_records
from tfrecords_tools.sources.manifest_rows import missing_column
from tfrecords_tools.stable_hash import check_fractions
from tfrecords_tools.write_records import write_records

# Columns that rows get, by names that no table has.
_ID, _SPLIT = "(id)", "(split)"


def build_huggingface(
    *,
    data: Sequence[str],
    output_dir: str | pathlib.Path,
    name: str,
    image_column: str | None = None,
    audio_column: str | None = None,
    caption_column: str | None = None,
    question_column: str | None = None,
    answer_column: str | None = None,
    label_column: str | None = None,
    text_column: str | None = None,
    id_column: str | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.05,
    max_seconds: float = 3600.0,
    options: BuildOptions = BuildOptions(),  # noqa: B008
) -> BuildResult | BuildPlan:
    """Writes the rows of local Parquet or Arrow files of Hugging Face's `datasets`.

    The files of a repository on the Hub, what `to_parquet` and `save_to_disk` write,
    and what `export --to parquet` writes. Neither `datasets` nor a network is used.
    The columns given decide the schema, as in `build manifest`. `answers.text` is a
    field inside of a column. Labels that are `ClassLabel` keep their names and
    numbers. Images and sounds are kept as the bytes that they are; they need their
    size on disk once more while it works.

    Args:
        data: Files, directories or patterns, each as PATH or SPLIT=PATH. Otherwise
            the names of files and folders tell the split (`train-00000-of-00008`,
            `data/test/0000`); rows of files that do not are split by a hash.
        output_dir: Directory that will hold NAME/1.0.0/.
        name: Name of the dataset.
        image_column: Column with images: bytes, or the dicts of `datasets.Image`.
        audio_column: Column with sounds, likewise: WAV, FLAC or Ogg.
        caption_column: Column with captions, or lists of them.
        question_column: Column with questions.
        answer_column: Column with answers.
        label_column: Column with classes.
        text_column: Column with texts to classify.
        id_column: Column with ids. Default: for captions the hash of the image, so
            that the captions of one image make one record; else file and number.
        split_column: Column with the split.
        group_column: Column with what must not be torn apart: rows are split by its
            hash, where nothing names a split. Default: the image, sound or text.
        validation_fraction: Share for validation, where nothing names a split.
        test_fraction: Share for test, where nothing names a split.
        max_seconds: Longer sounds are bad.
        options: What all sources share; see `BuildOptions`.

    Returns:
        Directory, counts by split, size and time.

    Raises:
        ValueError: If a file cannot be read, its columns do not make records, a row
            is bad, or the dataset exists.

    References:
        - [Structure of a repository of
          `datasets`](https://huggingface.co/docs/hub/datasets-file-names-and-splits).
    """
    started = time.perf_counter()
    check_fractions(validation_fraction, test_fraction)
    columns = ManifestColumns(
        image=image_column,
        audio=audio_column,
        caption=caption_column,
        question=question_column,
        answer=answer_column,
        label=label_column,
        text=text_column,
        id=id_column or (None if caption_column else _ID),
        split=split_column or _SPLIT,
        group=group_column,
    )
    audio = {"read": audio_reader(max_seconds, options)} if audio_column else {}
    bad_rows = BadRows(options.skip_bad)
    tables = find_tables(data)
    class_names = _class_names(tables, label_column)
    with EmbeddedFiles(pathlib.Path(output_dir)) as files:
        rows = _all_rows(tables, columns, class_names, files, bad_rows)
        records = manifest_records(rows, pathlib.Path(), columns, bad_rows)
        labels = [record.values["label"] for record in records if label_column]
        return write_records(
            records,
            bad_rows,
            output_dir=output_dir,
            name=name,
            features=columns.features(class_names or sorted_class_names(labels)),
            options=options,
            started=started,
            scratch=files.folder,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            **audio,
        )


def _class_names(tables: Sequence[TableFile], column: str | None) -> list[str] | None:
    """The names that the files give to the numbers of the labels, if they do."""
    first: list[str] | None = None
    for number, table in enumerate(tables if column else ()):
        with open_table(table) as (schema, _):
            names = class_names_in(schema).get(column)
        if number and names != first:
            raise ValueError(
                "The files must give the same names to the classes. Received: "
                f"{column!r} with {_shown(first)} in {tables[0].path}, and with "
                f"{_shown(names)} in {table.path}; build a dataset of each."
            )
        first = names
    return first


def _shown(names: list[str] | None) -> str:
    if names is None:
        return "no names"
    return f"{len(names)} names ({', '.join(names[:3])}{', ...' * (len(names) > 3)})"


def _all_rows(
    tables: Sequence[TableFile],
    columns: ManifestColumns,
    class_names: list[str] | None,
    files: EmbeddedFiles,
    bad_rows: BadRows,
) -> Rows:
    for table in tables:
        rows = _rows(table, columns, class_names, bad_rows)
        for place, row in files.take_out(rows, columns.media):
            path = row.get(columns.media)
            if isinstance(path, str):
                # It stands in a file of its own, beside the table.
                row[columns.media] = str(table.path.parent.absolute() / path)
            yield place, row


def _rows(
    table: TableFile,
    columns: ManifestColumns,
    class_names: list[str] | None,
    bad_rows: BadRows,
) -> Iterator[tuple[Place, dict[str, Any]]]:
    import pyarrow

    wanted = [name for name in columns.names if name not in (_ID, _SPLIT)]
    number = 0
    with open_table(table) as (schema, batches):
        for column in wanted:
            if not {column, column.split(".")[0]} & set(schema.names):
                missing = missing_column(column, schema.names)
                raise ValueError(f"{table.path}: {missing}")
        try:
            for batch in batches:
                for row in batch.select(_needed(wanted, schema.names)).to_pylist():
                    number += 1
                    yield (
                        Place(table.name, number),
                        _row(row, wanted, columns, class_names) | _added(table, number),
                    )
        except (pyarrow.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            bad_rows.add(
                Place(table.name, number + 1),
                f"This row and the rows after it cannot be read ({reason}); fetch the "
                "file again.",
            )


def _needed(wanted: Sequence[str], present: Sequence[str]) -> list[str]:
    """The columns to read: of a field inside of one, that one."""
    names = (name if name in present else name.split(".")[0] for name in wanted)
    return list(dict.fromkeys(names))


def _row(
    row: Mapping[str, Any],
    wanted: Sequence[str],
    columns: ManifestColumns,
    class_names: list[str] | None,
) -> dict[str, Any]:
    found = {column: value_at(row, column) for column in wanted}
    label = found.get(columns.label)
    if class_names is not None and isinstance(label, int):
        # -1 stands for a label that is not known.
        known = 0 <= label < len(class_names)
        found[columns.label] = class_names[label] if known else None
    return found


def _added(table: TableFile, number: int) -> dict[str, str]:
    """What rows have that tables have not: an id, and the split of the file."""
    stem = table.name.rpartition(".")[0]
    split = {_SPLIT: table.split} if table.split else {}
    return {_ID: f"{stem}-{number:07d}"} | split
