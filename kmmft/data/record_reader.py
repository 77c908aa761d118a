"""Reads records of a split by their numbers, from many shards."""

import collections
import concurrent.futures
import os
from collections.abc import Callable

import numpy as np

from kmmft.data.reading import Split
from kmmft.data.shard import Lost, Shard

CORRUPT = "Records must be as they were written."
# Begins what stands for a record that is lost. No protocol buffer begins so: to parse
# it fails, as a bad record does, and the reason is found behind it.
LOST_RECORD = b"\x07lost record: "
_READ_AT_ONCE = 16
# The places of their records are kept: 8 bytes for each.
_SHARDS_KEPT = 256


class RecordReader:
    """The serialised records of a split, by number.

    Args:
        split: What to read. Its records are numbered through, in the order of the
            shards, by the declared numbers of records.
        on_error: `"raise"`, a record that cannot be read is an error; `"skip"`, bytes
            that begin with `LOST_RECORD` stand for it.
        local_file: Given the path of a shard, returns the file to read instead, as
            a copy on a near disk.
    """

    def __init__(
        self,
        split: Split,
        *,
        on_error: str,
        local_file: Callable[[str], str] | None = None,
    ):
        self.split = split
        self._on_error = on_error
        self._local_file = local_file
        self._firsts = np.cumsum([0, *split.shard_lengths])[:-1]
        self._shards: collections.OrderedDict[int, Shard] = collections.OrderedDict()
        self._pool = concurrent.futures.ThreadPoolExecutor(
            _READ_AT_ONCE, "kmmft-read-shards"
        )

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Reads records, from several shards at a time.

        Args:
            numbers: int array `(records,)`, in any order.

        Returns:
            object array of bytes, in the same order.

        Raises:
            ValueError: If a record cannot be read and `on_error` is `"raise"`.
        """
        records = np.empty(len(numbers), object)
        order = np.argsort(numbers, kind="stable")
        shards = np.searchsorted(self._firsts, numbers[order], side="right") - 1
        cuts = np.flatnonzero(np.diff(shards)) + 1
        parts = [part for part in np.split(order, cuts) if len(part)]
        indices = [self._index(numbers[part[0]]) for part in parts]
        opened = [self._shard(index) for index in indices]

        def read(index: int, shard: Shard, part: np.ndarray) -> list[bytes]:
            wanted = numbers[part] - self._firsts[index]
            found = shard.read(wanted)
            for place, record in enumerate(found):
                if isinstance(record, Lost):
                    found[place] = self._lost(index, int(wanted[place]), record)
            return found

        run = map if len(parts) == 1 else self._pool.map
        for part, found in zip(parts, run(read, indices, opened, parts), strict=True):
            for place, record in zip(part.tolist(), found, strict=True):
                records[place] = record
        return records

    def where(self, number: int) -> tuple[str, int, int]:
        """Where a record is.

        Args:
            number: Its number in the split.

        Returns:
            Shard, number of the record in the shard (from 0) and byte offset.
        """
        index = self._index(number)
        local = int(number - self._firsts[index])
        return self.split.files[index], local, self._shard(index).offset(local)

    def _index(self, number: int) -> int:
        return int(np.searchsorted(self._firsts, number, side="right")) - 1

    def _shard(self, index: int) -> Shard:
        shard = self._shards.get(index)
        if shard is None:
            path = self.split.files[index]
            if self._local_file is not None:
                path = self._local_file(path)
            shard = Shard(path, self.split.shard_lengths[index])
            self._shards[index] = shard
            if len(self._shards) > _SHARDS_KEPT:
                self._shards.popitem(last=False)
        return shard

    def _lost(self, index: int, number: int, lost: Lost) -> bytes:
        if self._on_error == "skip":
            return LOST_RECORD + lost.problem.encode()
        raise ValueError(
            f"{CORRUPT} Received: a corrupt record, number {number} (from 0) of shard "
            f"{os.fspath(self.split.files[index])} (byte {lost.offset:,}): "
            f"{lost.problem} Copy or build this shard again, or pass on_error='skip'."
        )
