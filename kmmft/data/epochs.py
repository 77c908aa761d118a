"""In which order the records of a split are read: a function of seed and epoch only.

An epoch is cut into windows, and the records of a window are shuffled. What a window
holds, and in which order, is computed from the numbers of records in the shards. So
to begin in the middle costs no more than to begin: nothing before it is read.
"""

import bisect
import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

_SHARDS_READ_AT_ONCE = 16
_RECORDS_READ_IN_ORDER = 256


@dataclasses.dataclass(frozen=True)
class Epochs:
    """The order of the records.

    The shards are shuffled and taken in groups of 16 or more. Within a group all
    shards are read from front to back at once, each in proportion to its length. What
    is read together is a window, and comes out in any order.

    Args:
        shard_lengths: Numbers of records of the shards. The records are numbered
            through in this order.
        records_per_epoch: How many records an epoch takes. If there are more, the
            rest is left out, other records in each epoch; if there are fewer, the
            epoch's first ones come again.
        seed: Any int; or `None` for the order on disk.
        window_records: How many records are shuffled together, at most (and one more
            for each shard).
    """

    shard_lengths: Sequence[int]
    records_per_epoch: int
    seed: int | None = None
    window_records: int = _RECORDS_READ_IN_ORDER

    def windows(self, epoch: int, start: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        """Yields an epoch from the window on that holds a position.

        Args:
            epoch: Number of the epoch, from 0.
            start: Position in the epoch.

        Yields:
            Position in the epoch at which a window begins, and the numbers of its
            records, int64 `(records,)`, in their order.
        """
        total = int(sum(self.shard_lengths))
        first_round = start // total
        for number in itertools.count(first_round):
            before = number * total
            in_round = start - before if number == first_round else 0
            for position, numbers in self._windows_of_all(epoch, in_round):
                left = self.records_per_epoch - before - position
                if left <= 0:
                    return
                yield before + position, numbers[:left]
            if before + total >= self.records_per_epoch:
                return

    def _windows_of_all(self, epoch: int, start: int):
        if self.seed is None:
            total = int(sum(self.shard_lengths))
            size = self.window_records
            for position in range(start - start % size, total, size):
                yield position, np.arange(position, min(position + size, total))
            return
        lengths = np.array(self.shard_lengths, np.int64)
        firsts = np.cumsum(lengths) - lengths
        before = 0
        for number, shards in enumerate(self._groups(epoch, lengths)):
            size = int(lengths[shards].sum())
            if before + size > start:
                group = _Group(lengths[shards], firsts[shards], self.window_records)
                for window in range(group.window_at(start - before), group.windows):
                    records = group.records(window)
                    random = _random(self.seed, epoch, number, window)
                    # An integer's permutation has one result in all NumPy versions.
                    order = random.permutation(len(records))
                    yield before + group.start(window), records[order]
            before += size

    def _groups(self, epoch: int, lengths: np.ndarray) -> list[np.ndarray]:
        shards = _random(self.seed, epoch).permutation(len(lengths))
        enough_shards = len(lengths) // _SHARDS_READ_AT_ONCE
        enough_records = int(lengths.sum()) // self.window_records
        return np.array_split(shards, max(1, min(enough_shards, enough_records)))


@dataclasses.dataclass(frozen=True)
class _Group:
    """Shards that are read at once: their lengths and the numbers of their firsts."""

    lengths: np.ndarray
    firsts: np.ndarray
    window_records: int

    @property
    def windows(self) -> int:
        return max(1, -(-int(self.lengths.sum()) // self.window_records))

    def _read_before(self, window: int) -> np.ndarray:
        """How many records of each shard come before a window."""
        return self.lengths * window // self.windows

    def start(self, window: int) -> int:
        return int(self._read_before(window).sum())

    def window_at(self, position: int) -> int:
        windows = range(self.windows)
        return max(0, bisect.bisect_right(windows, position, key=self.start) - 1)

    def records(self, window: int) -> np.ndarray:
        begins, ends = self._read_before(window), self._read_before(window + 1)
        parts = zip(self.firsts, begins, ends, strict=True)
        return np.concatenate([np.arange(f + b, f + e) for f, b, e in parts])


def _random(*key: int) -> np.random.RandomState:
    # This generator's numbers are fixed for good; those of `default_rng` are not.
    words = [int(number) % 2**64 for number in key]
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(words)))
