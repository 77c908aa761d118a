"""Copies the records of data directories as they are."""

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kmmft.data.framing import read_frames
from tfrecords_tools.build_result import BuildResult
from tfrecords_tools.incomplete_directory import full_disk_is_named
from tfrecords_tools.progress import progress_bar
from tfrecords_tools.writer import DatasetWriter

if TYPE_CHECKING:
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Record:
    """A serialised record and its split."""

    split: str
    payload: bytes

    @property
    def example(self) -> "tf.train.Example":
        """The record, parsed."""
        import tensorflow as tf

        return tf.train.Example.FromString(self.payload)


def open_records(data: str | os.PathLike) -> Any:
    """Opens a data directory whose records have ids, and checks that it is whole.

    Returns:
        What `kmmft.data.open_source` returns.
    """
    from kmmft.data import open_source

    source = open_source(data)
    for split in source.splits:
        # Names missing and truncated shards before anything is written.
        source.split(split)
    if "id" not in source.features:
        raise ValueError(
            "Records must have ids to be copied. Received: features "
            f"{sorted(source.features)} in {source.path}; build it with an id."
        )
    return source


def read_all(source: Any) -> Iterator[Record]:
    """All records of what `open_records` opened, in the order on disk.

    Raises:
        ValueError: If one is broken.
    """
    for split in source.splits.values():
        for file in split.files:
            for number, frame in enumerate(read_frames(file)):
                if frame.payload is None:
                    raise ValueError(
                        f"All records must be whole. Received: record {number} (byte "
                        f"{frame.offset:,}) of {file}: {frame.problem} Repair the "
                        "dataset first (python -m tfrecords_tools verify --repair)."
                    )
                yield Record(split.name, frame.payload)


def copy_records(
    writer: DatasetWriter,
    sources: Sequence[Any],
    change: Callable[[int, Record], Record | None],
) -> BuildResult:
    """Writes what `change` makes of the records; None leaves one out.

    Args:
        writer: Where to write; not yet entered.
        sources: What `open_records` opened.
        change: Called with the number of the source and a record.

    Returns:
        Directory, counts by split, size and time.
    """
    started = time.perf_counter()
    total = sum(
        split.num_records for source in sources for split in source.splits.values()
    )
    with (
        full_disk_is_named(writer.output_dir),
        writer,
        progress_bar(f"Writing {writer.name}", total) as advance,
    ):
        for index, source in enumerate(sources):
            for record in read_all(source):
                changed = change(index, record)
                if changed is not None:
                    writer.write_serialized(changed.split, changed.payload)
                advance()
    return BuildResult(
        directory=writer.directory,
        num_records=writer.num_records,
        num_bytes=sum(path.stat().st_size for path in writer.directory.iterdir()),
        num_skipped=0,
        seconds=time.perf_counter() - started,
    )
