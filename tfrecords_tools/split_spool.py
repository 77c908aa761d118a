"""Gathers the records of one split in one file, then cuts it into shards."""

import array
import hashlib
import math
import os
import pathlib
import shutil
import struct
from collections.abc import Sequence
from typing import IO, Any

from kmmft.data.framing import FRAME_BYTES, HEAD_BYTES, frame, masked_crc

_COPY_BYTES = 4 * 2**20
# Less is quickly built again after a power failure.
_SYNC_BYTES = 16 * 2**20
_SHARD_BYTES = 128 * 2**20
_MIN_RECORDS_FOR_PARALLEL_SHARDS = 1000
_PARALLEL_SHARDS = 4

# The number of records, and of their bytes with framing.
ShardSize = tuple[int, int]


class SplitSpool:
    """The records of one split in the order of writing, before they are cut up.

    The number of shards depends on the number and size of the records, which are
    known at the end only. A TFRecord file is a row of frames, so a shard is a range
    of the spool's bytes and nothing is encoded twice.

    Args:
        path: Where the records are gathered; `-00000-of-00008` is added for shards.
        record_bytes: Sizes of the records that the file begins with, as
            `whole_records` tells them; what stands behind them is cut off.
    """

    def __init__(self, path: pathlib.Path, record_bytes: Sequence[int] = ()):
        self.path = path
        self.record_bytes = array.array("Q", record_bytes)
        self._num_bytes = sum(record_bytes) + FRAME_BYTES * len(record_bytes)
        self._file = open(path, "ab", buffering=2**20)  # noqa: SIM115
        self._file.truncate(self._num_bytes)

    @property
    def total(self) -> ShardSize:
        """Number of records, and their bytes with framing."""
        return len(self.record_bytes), self._num_bytes

    def write(self, payload: bytes) -> None:
        """Appends one serialised record."""
        self._file.write(frame(payload))
        self.record_bytes.append(len(payload))
        self._num_bytes += FRAME_BYTES + len(payload)

    def flush(self) -> None:
        """Hands to the system what was written."""
        self._file.flush()

    def close(self) -> None:
        """Ends writing."""
        self._file.close()

    def shard_sizes(self, num_shards: int) -> list[ShardSize]:
        """The sizes of shards whose counts differ by at most one.

        Args:
            num_shards: Number of shards, at most the number of records.

        Returns:
            For each shard the number of its records and of its bytes.
        """
        return shard_sizes(self.record_bytes, num_shards)


def shard_sizes(record_bytes: Sequence[int], num_shards: int) -> list[ShardSize]:
    """The sizes of shards whose counts differ by at most one.

    Args:
        record_bytes: Sizes of the records without framing, in order.
        num_shards: Number of shards, at most the number of records.

    Returns:
        For each shard the number of its records and of its bytes.

    Example:
        >>> shard_sizes([10, 20, 30], 2)
        [(1, 26), (2, 82)]
    """
    count = len(record_bytes)
    bounds = [index * count // num_shards for index in range(num_shards + 1)]
    sizes = []
    for index in range(num_shards):
        payloads = record_bytes[bounds[index] : bounds[index + 1]]
        num_bytes = sum(payloads) + FRAME_BYTES * len(payloads)
        sizes.append((len(payloads), num_bytes))
    return sizes


def cut_into_shards(
    path: pathlib.Path, sizes: Sequence[ShardSize]
) -> list[dict[str, Any]]:
    """Moves the records of a spool into shards.

    The last shard is cut off first, so that the spool shrinks as the shards grow: the
    disk never holds the data twice. If it is stopped and called again, it goes on.

    Args:
        path: The spool, closed.
        sizes: What `shard_sizes` told.

    Returns:
        For each shard `file`, `num_records`, `num_bytes` and `sha256`.
    """
    end = sum(num_bytes for _, num_bytes in sizes)
    shards = []
    for index, (num_records, num_bytes) in reversed(list(enumerate(sizes))):
        shard = _shard_path(path, index, sizes)
        # The spool is shortened when a shard is whole.
        if path.exists() and path.stat().st_size == end:
            with open(path, "r+b") as source:
                _cut_off_end(source, num_bytes, shard)
        shards.append(describe_shard(shard, num_records))
        end -= num_bytes
    path.unlink(missing_ok=True)
    return shards[::-1]


def cut_is_whole(path: pathlib.Path, sizes: Sequence[ShardSize]) -> bool:
    """Whether all records are there that `cut_into_shards` was stopped at.

    Args:
        path: The spool, of which some shards may be cut off.
        sizes: What `shard_sizes` told.
    """
    left = path.stat().st_size if path.exists() else 0
    start = num_uncut = 0
    for index, (num_records, num_bytes) in enumerate(sizes):
        if start + num_bytes <= left:
            num_uncut += num_records
        elif (
            whole_records(_shard_path(path, index, sizes), num_records, num_bytes)
            is None
        ):
            return False
        start += num_bytes
    return not left or whole_records(path, num_uncut, left) is not None


def whole_records(
    path: pathlib.Path, num_records: int, num_bytes: int
) -> array.array | None:
    """The sizes of the records that a spool begins with.

    Args:
        path: The spool.
        num_records: How many records are to be there.
        num_bytes: Their size with framing.

    Returns:
        Sizes without framing; None if one of them is not whole.
    """
    sizes = array.array("Q")
    if not path.exists() or path.stat().st_size < num_bytes:
        return None
    left = num_bytes
    with open(path, "rb", buffering=2**20) as file:
        while left > 0:
            head = file.read(HEAD_BYTES)
            length, checksum = struct.unpack("<QI", head)
            left -= FRAME_BYTES + length
            if left < 0 or masked_crc(head[:8]) != checksum:
                return None
            payload = file.read(length)
            if struct.pack("<I", masked_crc(payload)) != file.read(4):
                return None
            sizes.append(length)
    return sizes if len(sizes) == num_records else None


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


def _shard_path(
    path: pathlib.Path, index: int, sizes: Sequence[ShardSize]
) -> pathlib.Path:
    return path.with_name(f"{path.name}-{index:05d}-of-{len(sizes):05d}")


def _cut_off_end(source: IO[bytes], num_bytes: int, path: pathlib.Path) -> None:
    """Moves the last bytes of a file to another."""
    start = source.seek(-num_bytes, os.SEEK_END)
    with open(path, "wb") as target:
        shutil.copyfileobj(source, target, _COPY_BYTES)
        # They should be on the disk before they are nowhere else.
        if num_bytes >= _SYNC_BYTES:
            target.flush()
            os.fsync(target.fileno())
    source.truncate(start)
