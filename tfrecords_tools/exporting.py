"""Writes the records of a data directory in the formats of other libraries."""

import dataclasses
import pathlib
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Literal

from tfrecords_tools.build_result import BuildResult
from tfrecords_tools.copying import open_records, read_all
from tfrecords_tools.export_image_folder import write_image_folder
from tfrecords_tools.export_parquet import write_parquet
from tfrecords_tools.export_webdataset import write_webdataset
from tfrecords_tools.progress import progress_bar
from tfrecords_tools.record_values import kinds_of, record_values

_WRITERS: dict[str, Callable] = {
    "image_folder": write_image_folder,
    "parquet": write_parquet,
    "webdataset": write_webdataset,
}


def export_data(
    *,
    data: str | pathlib.Path,
    to: Literal["webdataset", "parquet", "image_folder"],
    output_dir: str | pathlib.Path,
    shard_mb: float = 128,
) -> BuildResult:
    """Writes all records for other libraries: pictures stay the bytes that they are.

    webdataset: `SPLIT-000000.tar`, each record as `KEY.jpg` (or png, ...) and
    `KEY.json` with its other values. parquet: `SPLIT-00000.parquet`, images in the way
    of Hugging Face's `datasets`, which shows them. image_folder: `SPLIT/KEY.jpg` (with
    classes `SPLIT/CLASS/KEY.jpg`) and `SPLIT/metadata.jsonl`, which `datasets` reads
    too. Keys are numbers, as ids may hold what names of files cannot; the ids are among
    the values. Labels are written by name.

    Args:
        data: Data directory (NAME/1.0.0, or NAME if there is one version).
        to: The format.
        output_dir: Directory to write; it must not be there yet.
        shard_mb: Size at which the next file is begun, but for image_folder.

    Returns:
        Directory, counts by split, size and time.

    Raises:
        ValueError: If the directory is there, a record is broken, or the records have
            no image, or several, and the format needs one.
    """
    started, directory = time.perf_counter(), pathlib.Path(output_dir)
    if directory.exists():
        raise ValueError(
            f"output_dir must not be there yet. Received: {directory}; delete it or "
            "choose another."
        )
    if shard_mb <= 0:
        raise ValueError(f"shard_mb must be positive. Received: shard_mb={shard_mb}.")
    source = open_records(data)
    kinds = kinds_of(source.features)
    counts = {name: split.num_records for name, split in source.splits.items()}
    temporary = directory.with_name(f".{directory.name}.{uuid.uuid4().hex[:8]}")
    temporary.mkdir(parents=True)
    try:
        with progress_bar(f"Writing {directory.name}", sum(counts.values())) as advance:
            for split in source.splits:
                rows = _rows(source, split, advance)
                _WRITERS[to](temporary, split, kinds, rows, shard_mb * 1e6)
        temporary.rename(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    files = (path for path in directory.rglob("*") if path.is_file())
    return BuildResult(
        directory,
        counts,
        num_bytes=sum(path.stat().st_size for path in files),
        num_skipped=0,
        seconds=time.perf_counter() - started,
    )


def _rows(
    source: Any, split: str, advance: Callable[[], None]
) -> Iterator[dict[str, Any]]:
    one = dataclasses.replace(source, splits={split: source.splits[split]})
    for record in read_all(one):
        advance()
        yield record_values(record.example, source.features)
