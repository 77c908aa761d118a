"""What `verify` finds wrong."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes:
        shard: Name of the file.
        reason: What is wrong, one sentence.
        record: Number of the record in the file, from 0; None if it is the file.
        offset: Where the record begins, in bytes.
        num_bytes: Its size with its framing.
        id: Its id, if it can be read.
        lost: Whether a repair puts the record, or the file, into quarantine.
    """

    shard: str
    reason: str
    record: int | None = None
    offset: int | None = None
    num_bytes: int | None = None
    id: str | None = None
    lost: bool = False

    def __str__(self) -> str:
        place = self.shard
        if self.record is not None:
            place += f" record {self.record} (byte {self.offset:,})"
        named = f" [{self.id}]" if self.id else ""
        return f"{place}{named}: {self.reason}"
