"""Reads, checks and changes the images of records, some of them ahead."""

import collections
import concurrent.futures
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tfrecords_tools.bad_rows import LeftOut
from tfrecords_tools.build_options import BuildOptions
from tfrecords_tools.image_bytes import check_image, read_image
from tfrecords_tools.image_changes import fit_image
from tfrecords_tools.source_record import SourceRecord

_IMAGES_AHEAD = 64


class ImageLoader:
    """Reads one image, and checks and changes it as the options say.

    May be called from several threads.

    Args:
        options: What the user chose.
    """

    def __init__(self, options: BuildOptions):
        self._options = options
        # Questions share images: a second decoding would be a waste.
        self._good: set[Any] = set()

    def __call__(self, image: pathlib.Path | Any) -> bytes:
        """The bytes to write.

        Args:
            image: The image of a `SourceRecord`.

        Raises:
            LeftOut: If a filter takes it out.
            ValueError: If it is no readable image.
        """
        encoded = read_image(image, decode=False)
        if image in self._good:
            return encoded
        fitted = encoded
        if self._options.changes_images:
            fitted = fit_image(encoded, str(image), self._options)
        if fitted is not encoded:
            return fitted
        if self._options.check_images:
            check_image(encoded, str(image))
        self._good.add(image)
        return encoded


def load_ahead(
    records: Iterable[SourceRecord], load: Callable[[Any], Any], num_workers: int | None
) -> Iterator[tuple[SourceRecord, Any]]:
    """Each record with what its file holds, in order.

    Args:
        records: The records.
        load: Reads a file; called in several threads, for some records ahead.
        num_workers: Number of threads; None for one for each processor.

    Yields:
        A record, and what `load` returned for its image: None for a record without
        one. A `ValueError` or `LeftOut` that was raised stands for the content.
    """

    def attempt(image: Any) -> Any:
        try:
            return load(image)
        except (ValueError, LeftOut) as error:
            return error

    ahead: collections.deque = collections.deque()
    pool = concurrent.futures.ThreadPoolExecutor(num_workers or os.cpu_count())
    try:
        for record in records:
            image = record.image
            future = None if image is None else pool.submit(attempt, image)
            ahead.append((record, future))
            if len(ahead) > _IMAGES_AHEAD:
                record, future = ahead.popleft()
                yield record, future and future.result()
        for record, future in ahead:
            yield record, future and future.result()
    finally:
        pool.shutdown(cancel_futures=True)
