"""Gathers the records of one split in one file, then cuts it into shards."""

import hashlib
import math
import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import IO, Any

# A TFRecord is length (8 bytes), its checksum (4), the payload, its checksum (4).
_FRAME_BYTES = 16
_COPY_BYTES = 4 * 2**20
_SHARD_BYTES = 128 * 2**20
_MIN_RECORDS_FOR_PARALLEL_SHARDS = 1000
_PARALLEL_SHARDS = 4


class SplitSpool:
    """The records of one split in the order of writing, before they are cut up.

    The number of shards depends on the number and size of the records, which are
    known at the end only. A TFRecord file is a row of frames, so a shard is a range
    of the spool's bytes and nothing is encoded twice.

    Args:
        path: Where the records are gathered; `-00000-of-00008` is added for shards.
    """

    def __init__(self, path: pathlib.Path):
        import tensorflow as tf

        self.path = path
        self.record_bytes: list[int] = []
        self._writer = tf.io.TFRecordWriter(os.fspath(path))

    def write(self, payload: bytes) -> None:
        """Appends one serialised record."""
        self._writer.write(payload)
        self.record_bytes.append(len(payload))

    def close(self) -> None:
        """Ends writing."""
        self._writer.close()

    def cut_into_shards(self, num_shards: int) -> list[dict[str, Any]]:
        """Moves the records into shards whose counts differ by at most one.

        The last shard is cut off first, so that the spool shrinks as the shards
        grow: the disk never holds the data twice.

        Args:
            num_shards: Number of shards, at most the number of records.

        Returns:
            For each shard `file`, `num_records`, `num_bytes` and `sha256`.
        """
        count = len(self.record_bytes)
        bounds = [index * count // num_shards for index in range(num_shards + 1)]
        shards = []
        with open(self.path, "r+b") as source:
            for index in reversed(range(num_shards)):
                payloads = self.record_bytes[bounds[index] : bounds[index + 1]]
                num_bytes = sum(payloads) + _FRAME_BYTES * len(payloads)
                suffix = f"-{index:05d}-of-{num_shards:05d}"
                shard = self.path.with_name(self.path.name + suffix)
                _cut_off_end(source, num_bytes, shard)
                shards.append(describe_shard(shard, len(payloads)))
        self.path.unlink()
        return shards[::-1]


def usual_num_shards(record_bytes: Sequence[int]) -> int:
    """One shard for every 128 MiB, but 4 if there are records enough to read at once.

    Example:
        >>> usual_num_shards([100] * 10), usual_num_shards([100] * 1000)
        (1, 4)
    """
    number = math.ceil(sum(record_bytes) / _SHARD_BYTES)
    if len(record_bytes) >= _MIN_RECORDS_FOR_PARALLEL_SHARDS:
        number = max(number, _PARALLEL_SHARDS)
    return number


def describe_shard(path: pathlib.Path, num_records: int) -> dict[str, Any]:
    """What `metadata.json` says of a shard.

    Args:
        path: The shard.
        num_records: How many records it holds.

    Returns:
        `file`, `num_records`, `num_bytes` and `sha256`.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "file": path.name,
        "num_records": num_records,
        "num_bytes": path.stat().st_size,
        "sha256": digest,
    }


def _cut_off_end(source: IO[bytes], num_bytes: int, path: pathlib.Path) -> None:
    """Moves the last bytes of a file to another."""
    start = source.seek(-num_bytes, os.SEEK_END)
    with open(path, "wb") as target:
        shutil.copyfileobj(source, target, _COPY_BYTES)
    source.truncate(start)
