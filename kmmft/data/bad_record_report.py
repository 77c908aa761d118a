"""What happens to a record that cannot be used: an error, or a line in the log."""

import hashlib
import os
from collections.abc import Callable

import tensorflow as tf
from google.protobuf.message import DecodeError

from kmmft.data.bad_records import BadRecords
from kmmft.data.record_reader import LOST_RECORD, RecordReader

UNUSABLE = "Every record must be usable."


def bad_record_report(
    reader: RecordReader,
    *,
    on_error: str,
    bad_records: BadRecords | None,
    max_bad_fraction: float,
) -> Callable[[int, bytes, str], None]:
    """The function that `isolate_failures` calls for each bad record.

    Args:
        reader: Knows where the records are.
        on_error: `"raise"` or `"skip"`.
        bad_records: Where to log those that are skipped.
        max_bad_fraction: Largest fraction of bad records in the split; one may always
            be bad, unless it is 0.

    Returns:
        `(number in the split, serialised record, reason) -> None`.
    """
    log = BadRecords() if bad_records is None else bad_records
    split = reader.split
    limit = int(max_bad_fraction * split.num_records)
    if max_bad_fraction > 0:
        limit = max(limit, 1)

    def report(number: int, serialized: bytes, reason: str) -> None:
        shard, local, offset = reader.where(number)
        if serialized.startswith(LOST_RECORD):
            name = f"{os.path.basename(shard)}:{local}"
            reason = serialized.removeprefix(LOST_RECORD).decode()
        else:
            name = _name(serialized)
        if on_error == "raise":
            raise ValueError(
                f"{UNUSABLE} Received: {name!r} (number {local} of {shard}, byte "
                f"{offset}): {reason} Mend or leave out such records when the data is "
                "built, or pass on_error='skip'."
            )
        log.add(
            split.name,
            name,
            reason,
            limit,
            shard=shard,
            number=local,
            byte_offset=offset,
        )

    return report


def _name(serialized: bytes) -> str:
    try:
        features = tf.train.Example.FromString(serialized).features.feature
    except DecodeError:
        features = {}
    ids = features["id"].bytes_list.value if "id" in features else ()
    # A record without id is told from others by its contents.
    digest = hashlib.sha256(serialized).hexdigest()[:16]
    return ids[0].decode(errors="replace") if ids else f"sha256:{digest}"
