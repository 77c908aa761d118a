"""Turns the rows of any source into a data directory: the part all sources share."""

import collections
import concurrent.futures
import os
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from tfrecords_tools.bad_rows import BadRows
from tfrecords_tools.build_options import BuildOptions
from tfrecords_tools.build_result import BuildResult
from tfrecords_tools.image_bytes import read_image
from tfrecords_tools.progress import progress_bar
from tfrecords_tools.record_splits import with_splits
from tfrecords_tools.source_record import SourceRecord
from tfrecords_tools.stable_hash import in_hash_order
from tfrecords_tools.writer import DatasetWriter

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

_IMAGES_AHEAD = 64


def write_records(
    records: Iterable[SourceRecord],
    bad_rows: BadRows,
    *,
    output_dir: str | os.PathLike,
    name: str,
    features: "tfds.features.FeaturesDict",
    options: BuildOptions,
    started: float,
    validation_fraction: float = 0.0,
    test_fraction: float = 0.0,
    description: str = "",
    feature: str = "image",
    read: Callable[[pathlib.Path], Any] | None = None,
) -> BuildResult:
    """Writes records into `output_dir/name/1.0.0/`, in the order of a hash of the id.

    Args:
        records: The records of the source. Records whose split is None get one by a
            hash of their group.
        bad_rows: Takes the rows that had to be left out.
        output_dir: Directory that will hold the dataset.
        name: Name of the dataset.
        features: What a record is.
        options: What the user chose.
        started: When the build began, from `time.perf_counter()`.
        validation_fraction: Share for validation, where the source names no split.
        test_fraction: Share for test, where the source names no split.
        description: Text for `dataset_info.json`.
        feature: Name of the feature that is read from the files.
        read: Reads a file, in place of reading and checking an image.

    Returns:
        Directory, counts, size and time.

    Raises:
        ValueError: If the dataset exists, a record does not fit the features, or an
            image is bad and bad rows are not skipped.
    """
    writer = DatasetWriter(
        output_dir,
        name,
        features,
        num_shards=options.num_shards,
        shard_megabytes=options.shard_megabytes,
        description=description,
        overwrite=options.overwrite,
    )
    ordered = in_hash_order(
        with_splits(records, validation_fraction, test_fraction),
        lambda record: record.values["id"],
    )
    with writer, progress_bar(f"Writing {writer.name}", len(ordered)) as advance:
        for record, content in _with_files(ordered, options, read):
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
    options: BuildOptions,
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
            decode = options.check_images and path not in good
            encoded = read_image(path, decode=decode)
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
    workers = options.num_workers or os.cpu_count()
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for record in records:
            known = record.image is None or record.image in good
            ahead.append((record, None if known else pool.submit(load, record.image)))
            if len(ahead) > _IMAGES_AHEAD:
                yield finish(*ahead.popleft())
        while ahead:
            yield finish(*ahead.popleft())
