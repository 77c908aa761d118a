"""The log of records that could not be used, and the limit to how many there may be."""

import dataclasses
import logging
import threading

TOO_MANY = "Too many bad records"

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class BadRecord:
    """A record that was skipped.

    Attributes:
        split: Its split.
        id: Its id; or the name of its shard and its number there, or a digest.
        reason: Why it could not be used.
        shard: Path of its shard.
        number: Its number in the shard, from 0.
        byte_offset: Where it begins in the shard.
    """

    split: str
    id: str
    reason: str
    shard: str = ""
    number: int | None = None
    byte_offset: int | None = None


class BadRecords:
    """Collects the records that `build_dataset` could not read or preprocess.

    Pass one to `build_dataset` to see what was skipped. A record counts once, however
    many epochs meet it. A `kmmft.training.RunDirectory` keeps all of them in its
    `quarantine.jsonl`, without one too.

    Attributes:
        records: List of `BadRecord`, in the order in which they were met.

    Example:
        >>> bad_records = kmmft.data.BadRecords()
        >>> bad_records.add("train", "cat-7", "Input is empty.", limit=3)
        >>> bad_records.records[0].id
        'cat-7'
    """

    def __init__(self):
        self.records: list[BadRecord] = []
        self._known: set[tuple] = set()
        self._lock = threading.Lock()

    def add(
        self,
        split: str,
        record_id: str,
        reason: str,
        limit: int,
        *,
        shard: str = "",
        number: int | None = None,
        byte_offset: int | None = None,
    ) -> None:
        """Logs a bad record.

        Args:
            split: Its split.
            record_id: Its id.
            reason: Why it could not be used.
            limit: How many bad records the split may have.
            shard: Path of its shard.
            number: Its number in the shard.
            byte_offset: Where it begins in the shard.

        Raises:
            ValueError: If the split now has more.
        """
        record = BadRecord(split, record_id, reason, shard, number, byte_offset)
        place = f" (number {number} of {shard}, byte {byte_offset})" if shard else ""
        with self._lock:
            # Whatever the reason is this time: a drawn number may stand in it.
            known = (split, record_id, shard, number)
            if known not in self._known:
                self._known.add(known)
                self.records.append(record)
                _logger.warning(
                    "Skipped record %r of split %r%s: %s",
                    record_id,
                    split,
                    place,
                    reason,
                    extra={"bad_record": record},
                )
            count = self.count(split)
        if count > limit:
            raise ValueError(
                f"{TOO_MANY}: {count} in split {split!r}, where {limit} may be. The "
                f"last one is {record_id!r}{place}: {reason} Mend or leave out these "
                "records when the data is built, or raise `max_bad_fraction`."
            )

    def count(self, split: str | None = None) -> int:
        """Counts the distinct bad records.

        Args:
            split: Count only those of this split.

        Returns:
            The number of records.
        """
        return sum(split in (None, record.split) for record in self.records)
