"""Gathers the records of all splits, and cuts them into shards when all are there."""

import json
import math
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from kmmft.data.framing import FRAME_BYTES
from tfrecords_tools.split_spool import (
    ShardSize,
    SplitSpool,
    cut_into_shards,
    cut_is_whole,
    whole_records,
)


class SplitSpools:
    """One spool for each split, and what is needed to go on with them after a kill.

    Args:
        directory: Where the spools are, and then the shards.
        sizes_file: Takes the sizes of the shards while they are cut.
        name: Name of the dataset.
    """

    def __init__(self, directory: pathlib.Path, sizes_file: pathlib.Path, name: str):
        self._directory = directory
        self._sizes_file = sizes_file
        self._name = name
        self._spools: dict[str, SplitSpool] = {}
        # Known when the shards are cut.
        self._sizes: dict[str, list[ShardSize]] | None = None

    @property
    def num_records(self) -> dict[str, int]:
        """Number of records so far, by split; train, validation, test first."""
        return {split: count for split, (count, _) in self.totals().items()}

    def totals(self) -> dict[str, ShardSize]:
        """Records of each split, and their bytes with framing."""
        found = {split: spool.total for split, spool in self._spools.items()}
        if self._sizes is not None:
            found = {split: _total(sizes) for split, sizes in self._sizes.items()}
        usual = ["train", "validation", "test"]
        order = usual + sorted(found.keys() - set(usual))
        return {split: found[split] for split in order if split in found}

    def write(self, split: str, payload: bytes) -> None:
        """Appends one serialised record."""
        spool = self._spools.get(split) or self._open(split)
        spool.write(payload)

    def flush(self) -> None:
        """Hands to the system what was written."""
        for spool in self._spools.values():
            spool.flush()

    def close(self) -> None:
        """Ends writing."""
        for spool in self._spools.values():
            spool.close()

    def go_back_to(self, totals: Mapping[str, ShardSize], last: bool) -> bool:
        """Goes on with the files of another process.

        Args:
            totals: What `totals` told there, after `flush`.
            last: No record follows.

        Returns:
            False, if the records are not there or not whole; then nothing is changed.
        """
        sizes = self._sizes_of_cutting() if last else None
        if sizes is not None and {s: _total(of) for s, of in sizes.items()} == totals:
            paths = {split: self._path(split) for split in sizes}
            if not all(cut_is_whole(paths[split], sizes[split]) for split in sizes):
                return False
            self._sizes = sizes
            return True
        found = {
            split: whole_records(self._path(split), *total)
            for split, total in totals.items()
        }
        if any(record_bytes is None for record_bytes in found.values()):
            return False
        self._sizes_file.unlink(missing_ok=True)
        kept = {self._path(split) for split in found}
        for path in self._directory.iterdir():
            if path not in kept:
                path.unlink()
        for split, record_bytes in found.items():
            self._spools[split] = SplitSpool(self._path(split), record_bytes)
        return True

    def cut(
        self, num_shards: Callable[[str, SplitSpool], int]
    ) -> dict[str, list[dict[str, Any]]]:
        """Cuts the records into shards; to be called when all is written and closed.

        Args:
            num_shards: Tells the number of shards of a split, at most its records.

        Returns:
            For each split its shards, as `cut_into_shards` tells them.
        """
        if self._sizes is None:
            sizes = {
                split: self._spools[split].shard_sizes(
                    num_shards(split, self._spools[split])
                )
                for split in self.num_records
            }
            # From here on, the spools alone do not hold all records.
            self._sizes_file.write_text(json.dumps(sizes))
            self._sizes = sizes
        return {
            split: cut_into_shards(self._path(split), self._sizes[split])
            for split in self.num_records
        }

    def _path(self, split: str) -> pathlib.Path:
        return self._directory / f"{self._name}-{split}.tfrecord"

    def _open(self, split: str) -> SplitSpool:
        # A '-' would be allowed by TFDS but makes shard names ambiguous.
        if not re.fullmatch(r"[a-zA-Z]\w*", split, re.ASCII) or split == "all":
            raise ValueError(
                "A split's name must be letters, digits and '_', begin with a letter, "
                f"and not be 'all'. Received: split={split!r}; rename the split."
            )
        self._spools[split] = SplitSpool(self._path(split))
        return self._spools[split]

    def _sizes_of_cutting(self) -> dict[str, list[ShardSize]] | None:
        try:
            return json.loads(self._sizes_file.read_bytes())
        except (FileNotFoundError, ValueError):
            return None


def payload_bytes(total: ShardSize) -> int:
    """Size of records without their framing."""
    num_records, num_bytes = total
    return num_bytes - FRAME_BYTES * num_records


def shards_by_size(num_bytes: int, shard_megabytes: float) -> int:
    """How many shards of about this size hold so many bytes.

    Example:
        >>> shards_by_size(2_500_000, 1.0)
        3
    """
    return max(1, math.ceil(num_bytes / (shard_megabytes * 1e6)))


def _total(sizes: list[ShardSize]) -> ShardSize:
    counts, num_bytes = zip(*sizes, strict=True)
    return sum(counts), sum(num_bytes)
