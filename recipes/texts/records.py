"""The records of a text task, all at once: they are small."""

import kmmft

from .settings import TextConfig


def all_records(
    config: TextConfig, source: kmmft.data.RecordSource, split: str
) -> list[dict]:
    """The records of a split that can be read; too many others are an error."""
    return kmmft.data.first_records(
        source,
        split,
        source.split(split, on_error="skip").num_records,
        on_error="skip",
        max_bad_fraction=config.max_bad_fraction,
    )
