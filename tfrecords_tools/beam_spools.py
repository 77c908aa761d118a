"""The records that the workers of a Beam runner wrote, for `DatasetWriter`."""

import array
import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

from kmmft.data.framing import FRAME_BYTES
from tfrecords_tools.beam_parts import PartJob, ShardJob
from tfrecords_tools.split_spool import ShardSize, shard_sizes


@dataclasses.dataclass
class JoinedParts:
    """The parts of one split, in order.

    Attributes:
        record_bytes: Sizes of the records without framing.
        files: For each part its file in the folder of the parts, and its bytes.
    """

    record_bytes: array.array = dataclasses.field(
        default_factory=lambda: array.array("Q")
    )
    files: list[tuple[str, int]] = dataclasses.field(default_factory=list)

    @property
    def total(self) -> ShardSize:
        """Number of records, and their bytes with framing."""
        return len(self.record_bytes), sum(size for _, size in self.files)

    def add(self, file: str, record_bytes: list[int]) -> None:
        """Takes in the next part."""
        self.record_bytes.extend(record_bytes)
        num_bytes = sum(record_bytes) + FRAME_BYTES * len(record_bytes)
        self.files.append((file, num_bytes))

    def ranges(self, start: int, end: int) -> Iterator[tuple[str, int, int]]:
        """Parts, places in them and numbers of bytes that make a range of them all."""
        before = 0
        for file, size in self.files:
            first, last = max(start - before, 0), min(end - before, size)
            if first < last:
                yield file, first, last - first
            before += size


class BeamSpools:
    """Stands in the place of `SplitSpools`: the shards are cut by the runner's workers.

    Args:
        job: What wrote the parts.
        num_parts: How many there are.
        shard_job: What writes the shards.
        name: Name of the dataset.
        run: Runs a job for each of so many numbers.
    """

    def __init__(
        self,
        job: PartJob,
        num_parts: int,
        shard_job: ShardJob,
        name: str,
        run: Callable[[Callable[[int], None], int], None],
    ):
        self._shard_job = shard_job
        self._name = name
        self._run = run
        self._splits: dict[str, JoinedParts] = {}
        for number in range(num_parts):
            for split, record_bytes in job.result(number)["splits"].items():
                joined = self._splits.setdefault(split, JoinedParts())
                joined.add(job.part_file(number, split).name, record_bytes)

    @property
    def num_records(self) -> dict[str, int]:
        """Number of records by split; train, validation, test first."""
        return {split: count for split, (count, _) in self.totals().items()}

    def totals(self) -> dict[str, ShardSize]:
        """Records of each split, and their bytes with framing."""
        usual = ["train", "validation", "test"]
        order = usual + sorted(self._splits.keys() - set(usual))
        return {s: self._splits[s].total for s in order if s in self._splits}

    def close(self) -> None:
        """The workers have closed their files."""

    def cut(
        self, num_shards: Callable[[str, Any], int]
    ) -> dict[str, list[dict[str, Any]]]:
        """Has the shards written.

        Args:
            num_shards: Tells the number of shards of a split, at most its records.

        Returns:
            For each split its shards, as `cut_into_shards` tells them.
        """
        numbers = itertools.count()
        shards: dict[str, list[int]] = {}
        for split in self.num_records:
            joined, start = self._splits[split], 0
            sizes = shard_sizes(joined.record_bytes, num_shards(split, joined))
            shards[split] = []
            for index, (num_records, num_bytes) in enumerate(sizes):
                file = f"{self._name}-{split}.tfrecord"
                task = {
                    "file": f"{file}-{index:05d}-of-{len(sizes):05d}",
                    "num_records": num_records,
                    "ranges": list(joined.ranges(start, start + num_bytes)),
                }
                start += num_bytes
                shards[split].append(next(numbers))
                self._shard_job.task_file(shards[split][-1]).write_text(
                    json.dumps(task)
                )
        self._run(self._shard_job, next(numbers))
        return {
            split: [self._shard_job.result(number) for number in of]
            for split, of in shards.items()
        }
