"""How many steps an epoch has, and what becomes of the records at its end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kmmft.data.reading import RecordSource, Split, open_source

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

REMAINDERS = ("drop", "keep", "pad", "repeat")


def steps_per_epoch(
    source: str | os.PathLike | RecordSource,
    split: str,
    batch_size: int,
    schema: tfds.features.FeaturesDict | None = None,
    *,
    remainder: str = "drop",
    on_error: str = "skip",
) -> int:
    """The number of batches in an epoch of training.

    Args:
        source: As in `build_dataset`.
        split: Name of the split.
        batch_size: Records in one batch.
        schema: As in `build_dataset`.
        remainder: As in `build_dataset`.
        on_error: As in `build_dataset`.

    Returns:
        The number of steps.

    Raises:
        ValueError: If the split is empty, or smaller than one batch while
            `remainder` is `"drop"`.
    """
    check_positive("batch_size", batch_size)
    opened = open_source(source, schema, on_error=on_error)
    records = opened.split(split, on_error=on_error)
    return count_steps(records, batch_size, check_remainder(remainder, training=True))


def count_steps(split: Split, batch_size: int, remainder: str) -> int:
    """The number of batches, the last of which may not be full if they are kept.

    Args:
        split: The records.
        batch_size: Records in one batch.
        remainder: As in `build_dataset`.

    Raises:
        ValueError: If there are none.
    """
    steps = split.num_records // batch_size
    if remainder != "drop":
        steps = -(-split.num_records // batch_size)
    if steps == 0:
        raise ValueError(
            "A split must have a record, and as many as one batch where what is left "
            f"over is dropped. Received: split {split.name!r} with "
            f"{split.num_records} records, batch_size={batch_size}. Lower "
            "`batch_size` or choose another split."
        )
    return steps


def check_remainder(remainder: str | None, training: bool) -> str:
    """Checks the argument `remainder`, or gives its default.

    Args:
        remainder: As in `build_dataset`.
        training: As in `build_dataset`.

    Returns:
        One of `REMAINDERS`.

    Raises:
        ValueError: If it is none of them, or `"keep"` in training.
    """
    if remainder is None:
        return "drop" if training else "keep"
    allowed = [name for name in REMAINDERS if not (training and name == "keep")]
    if remainder not in allowed:
        raise ValueError(
            f"`remainder` must be one of {allowed}{' in training' * training}. "
            f"Received: remainder={remainder!r}."
        )
    return remainder


def check_positive(name: str, value: int) -> None:
    """Raises a ValueError unless `value` is a positive int."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(
            f"`{name}` must be a positive int. Received: {name}={value!r}. Pass at "
            "least 1."
        )
