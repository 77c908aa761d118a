"""Turns the rows of any source into a data directory: the part all sources share."""

import collections
import concurrent.futures
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tfrecords_tools.bad_rows import BadRows, Place
from tfrecords_tools.image_bytes import read_image
from tfrecords_tools.progress import progress_bar
from tfrecords_tools.writer import DatasetWriter

_IMAGES_AHEAD = 64


@dataclasses.dataclass(frozen=True)
class SourceRecord:
    """A record whose image or video is still a path.

    Attributes:
        split: Split that it belongs to.
        values: The record without its image or video.
        image: Path of the image or video; None for records without one.
        places: The rows that it was made from.
    """

    split: str
    values: dict[str, Any]
    image: pathlib.Path | None
    places: tuple[Place, ...]


@dataclasses.dataclass(frozen=True)
class BuildResult:
    """What a build wrote.

    Attributes:
        directory: The data directory.
        num_records: Records by split.
        num_bytes: Size of all files.
        num_skipped: Rows that were left out; `skipped.jsonl` lists them.
        seconds: Time that the build took.
    """

    directory: pathlib.Path
    num_records: dict[str, int]
    num_bytes: int
    num_skipped: int
    seconds: float

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {n:,}" for name, n in self.num_records.items())
        skipped = f", {self.num_skipped:,} rows skipped" if self.num_skipped else ""
        return (
            f"{self.directory}: {counts} records{skipped}, "
            f"{self.num_bytes / 1e6:,.1f} MB, {self.seconds:.1f} s"
        )


def write_records(
    writer: DatasetWriter,
    records: Sequence[SourceRecord],
    bad_rows: BadRows,
    *,
    check_images: bool,
    started: float,
    feature: str = "image",
    read: Callable[[pathlib.Path], Any] | None = None,
) -> BuildResult:
    """Reads the images or videos of the records and writes all of it.

    Args:
        writer: Where to write; not yet entered.
        records: The records in the order of writing.
        bad_rows: Takes the rows that had to be left out.
        check_images: Decode every image once, to be sure that training can.
        started: When the build began, from `time.perf_counter()`.
        feature: Name of the feature that is read from the files.
        read: Reads a file, in place of reading and checking an image.

    Returns:
        Counts, size and time.
    """
    with writer, progress_bar(f"Writing {writer.name}", len(records)) as advance:
        for record, content in _with_files(records, check_images, read):
            if isinstance(content, ValueError):
                for place in record.places:
                    bad_rows.add(place, str(content))
            else:
                encoded = {} if content is None else {feature: content}
                writer.write(record.split, record.values | encoded)
            advance()
        if bad_rows.found:
            writer.write_text_file("skipped.jsonl", bad_rows.to_jsonl())
    return BuildResult(
        directory=writer.directory,
        num_records=writer.num_records,
        num_bytes=sum(path.stat().st_size for path in writer.directory.iterdir()),
        num_skipped=len(bad_rows.found),
        seconds=time.perf_counter() - started,
    )


def _with_files(
    records: Iterable[SourceRecord],
    check_images: bool,
    read: Callable[[pathlib.Path], Any] | None,
) -> Iterator[tuple[SourceRecord, Any]]:
    """Each record with what its file holds, or with the error that says why not.

    Several threads read and decode some records ahead; the order is kept.
    """
    # Questions share images: a second decoding would be a waste, and so would a thread.
    good: set[pathlib.Path] = set()

    def load(path: pathlib.Path) -> Any:
        try:
            if read is not None:
                return read(path)
            encoded = read_image(path, decode=check_images and path not in good)
        except ValueError as error:
            return error
        good.add(path)
        return encoded

    def finish(
        record: SourceRecord, future: concurrent.futures.Future | None
    ) -> tuple[SourceRecord, Any]:
        if record.image is None:
            return record, None
        return record, future.result() if future else load(record.image)

    ahead: collections.deque = collections.deque()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for record in records:
            known = record.image is None or record.image in good
            ahead.append((record, None if known else pool.submit(load, record.image)))
            if len(ahead) > _IMAGES_AHEAD:
                yield finish(*ahead.popleft())
        while ahead:
            yield finish(*ahead.popleft())
