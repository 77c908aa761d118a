"""The log of records that could not be used, and the limit to how many there may be."""

import dataclasses
import logging
import threading

TOO_MANY = "Too many bad records"

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class BadRecord:
    """A record that was skipped: its split, its id (or number) and the reason."""

    split: str
    id: str
    reason: str


class BadRecords:
    """Collects the records that `build_dataset` could not preprocess.

    Pass one to `build_dataset` to see what was skipped. A record counts once, however
    many epochs meet it.

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
        self._lock = threading.Lock()

    def add(self, split: str, record_id: str, reason: str, limit: int) -> None:
        """Logs a bad record.

        Args:
            split: Its split.
            record_id: Its id.
            reason: Why it could not be used.
            limit: How many bad records the split may have.

        Raises:
            ValueError: If the split now has more.
        """
        record = BadRecord(split, record_id, reason)
        with self._lock:
            if record not in self.records:
                self.records.append(record)
                _logger.warning(
                    "Skipped record %r of split %r: %s", record_id, split, reason
                )
            count = self.count(split)
        if count > limit:
            raise ValueError(
                f"{TOO_MANY}: {count} in split {split!r}, where {limit} may be. The "
                f"last one is {record_id!r}: {reason} Mend or leave out these records "
                "when the data is built, or raise `max_bad_fraction`."
            )

    def count(self, split: str | None = None) -> int:
        """Counts the distinct bad records.

        Args:
            split: Count only those of this split.

        Returns:
            The number of records.
        """
        return sum(split in (None, record.split) for record in self.records)
