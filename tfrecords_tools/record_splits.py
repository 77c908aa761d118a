"""Gives every record its split, so that nothing is on both sides of a test."""

import collections
import dataclasses
import logging
import pathlib
from collections.abc import Sequence

from tfrecords_tools.bad_rows import BadRows, LeftOut
from tfrecords_tools.source_record import SourceRecord
from tfrecords_tools.stable_hash import choose_split

_logger = logging.getLogger(__name__)

# What is tested on must not be trained on; not the other way round.
_RANKS = {"train": 0, "validation": 2, "test": 3}


def with_splits(
    records: Sequence[SourceRecord],
    validation_fraction: float,
    test_fraction: float,
    groups: Sequence[int] | None,
    bad_rows: BadRows,
) -> list[SourceRecord]:
    """Chooses the splits that the source does not name, by a hash of the group.

    Args:
        records: Records of the source.
        validation_fraction: Share of the groups for validation.
        test_fraction: Share of the groups for test.
        groups: For each record the number of what must not be torn apart; by default
            its own group decides. Where the source names several splits for a group,
            only the records of one stay: of test, else of validation.
        bad_rows: Takes the rows of the others.

    Returns:
        The records in their order, each with a split.
    """
    if groups is not None:
        records = _whole_groups(
            records, groups, validation_fraction, test_fraction, bad_rows
        )
    chosen = []
    for record in records:
        if record.split is None:
            split = choose_split(_key(record), validation_fraction, test_fraction)
            record = dataclasses.replace(record, split=split)
        chosen.append(record)
    _warn_of_shared_images(chosen)
    return chosen


def _whole_groups(
    records: Sequence[SourceRecord],
    groups: Sequence[int],
    validation_fraction: float,
    test_fraction: float,
    bad_rows: BadRows,
) -> list[SourceRecord]:
    members = collections.defaultdict(list)
    for record, group in zip(records, groups, strict=True):
        members[group].append(record)
    owners = {}
    for group, own in members.items():
        named = {record.split for record in own} - {None}
        if named:
            owners[group] = max(named, key=lambda split: (_RANKS.get(split, 1), split))
        else:
            key = min(map(_key, own))
            owners[group] = choose_split(key, validation_fraction, test_fraction)
    kept = []
    for record, group in zip(records, groups, strict=True):
        split = owners[group]
        if record.split in (None, split):
            kept.append(dataclasses.replace(record, split=split))
            continue
        reason = (
            f"It is for {record.split}, but looks like {_one_of(members[group], split)}"
            f" of {split}."
        )
        for place in record.places:
            bad_rows.leave_out(place, LeftOut("group_near_duplicates", reason))
    return kept


def _key(record: SourceRecord) -> str:
    return record.group or record.values["id"]


def _one_of(records: Sequence[SourceRecord], split: str) -> str:
    return repr(next(one.values["id"] for one in records if one.split == split))


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
