"""Turns what `tf.data` raises into one clear line."""

import contextlib
import os
import re
from collections.abc import Iterator

import tensorflow as tf

from kmmft.data.bad_record_report import UNUSABLE
from kmmft.data.bad_records import TOO_MANY
from kmmft.data.reading import RecordSource, open_source
from kmmft.data.record_reader import CORRUPT
from kmmft.data.tfrecord_files import find_corrupt_record


@contextlib.contextmanager
def clear_data_errors(
    source: str | os.PathLike | RecordSource, schema: object = None
) -> Iterator[None]:
    """Names the shard and the record when records turn out to be corrupt.

    Put the `fit` or `evaluate` that reads the records inside. The search reads all
    shards, and only happens after an error.

    Args:
        source: As in `build_dataset`.
        schema: As in `build_dataset`.

    Raises:
        ValueError: Instead of an error for a corrupt or bad record, or for too
            many of them. Other errors pass.

    Example:
        >>> with kmmft.data.clear_data_errors("data/pairs/1.0.0"):
        ...     pass  # model.fit(...)
    """
    try:
        yield
    except tf.errors.OpError as error:
        message = str(error)
        known = re.search(f"({TOO_MANY}: |{CORRUPT} |{UNUSABLE} ).*", message)
        if known:
            raise ValueError(known[0]) from None
        if not isinstance(error, tf.errors.DataLossError):
            raise
        files = [
            file
            for split in open_source(source, schema).splits.values()
            for file in split.files
        ]
        found = find_corrupt_record(files)
        if found is None:
            raise
        raise ValueError(
            "Records must be as they were written. Received: a corrupt record, number "
            f"{found[1]} (from 0) of shard {found[0]}. Copy or build this shard again."
        ) from error
