"""Gives every record its split, so that nothing is on both sides of a test."""

import dataclasses
import logging
import pathlib
from collections.abc import Iterable

from tfrecords_tools.source_record import SourceRecord
from tfrecords_tools.stable_hash import choose_split

_logger = logging.getLogger(__name__)


def with_splits(
    records: Iterable[SourceRecord], validation_fraction: float, test_fraction: float
) -> list[SourceRecord]:
    """Chooses the splits that the source does not name, by a hash of the group.

    Args:
        records: Records of the source.
        validation_fraction: Share of the groups for validation.
        test_fraction: Share of the groups for test.

    Returns:
        The records in their order, each with a split.
    """
    chosen = []
    for record in records:
        if record.split is None:
            key = record.group or record.values["id"]
            split = choose_split(key, validation_fraction, test_fraction)
            record = dataclasses.replace(record, split=split)
        chosen.append(record)
    _warn_of_shared_images(chosen)
    return chosen


def _warn_of_shared_images(records: list[SourceRecord]) -> None:
    first: dict[pathlib.Path, str] = {}
    shared = set()
    for record in records:
        if record.image is not None:
            split = first.setdefault(record.image, record.split)
            if split != record.split:
                shared.add(record.image)
    if shared:
        _logger.warning(
            "%d images are in more than one split, such as %s: results on the later "
            "splits will look too good.",
            len(shared),
            min(shared, key=str),
        )
