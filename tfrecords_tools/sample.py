"""Takes some records of a dataset."""

import collections
import dataclasses
import heapq
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from tfrecords_tools.build_result import BuildResult
from tfrecords_tools.copying import Record, copy_records, open_records, read_all
from tfrecords_tools.stable_hash import hash_key
from tfrecords_tools.writer import DatasetWriter


def sample_data(
    *,
    data: str | pathlib.Path,
    output_dir: str | pathlib.Path,
    name: str,
    fraction: float | None = None,
    num_records: int | None = None,
    per_class: int | None = None,
    splits: Sequence[str] = (),
    seed: int = 0,
    num_shards: int | None = None,
    overwrite: bool = False,
) -> BuildResult:
    """Writes some of the records, chosen by a hash of their ids, in their order.

    A larger sample with the same seed holds the smaller one. Exactly one of
    `fraction`, `num_records` and `per_class` says how many.

    Args:
        data: Data directory (NAME/1.0.0, or NAME if there is one version).
        output_dir: Directory that will hold NAME/1.0.0/.
        name: Name of the new dataset.
        fraction: Share of the records, about so many.
        num_records: Records of each split, at most.
        per_class: Records of each class of each split, at most.
        splits: Splits to take from, and to write; default: all.
        seed: Another seed chooses other records.
        num_shards: Files per split; default: by size and number of records.
        overwrite: Replace the dataset if it exists.

    Returns:
        Directory, counts by split, size and time.

    Raises:
        ValueError: If the amount is not clear, a split is not there, a record is
            broken, or the new dataset exists.
    """
    source = open_records(data)
    _check_amount(fraction, num_records, per_class)
    unknown = sorted(set(splits) - set(source.splits))
    if unknown:
        raise ValueError(
            f"There must be splits of these names. Received: {unknown}; there are "
            f"{sorted(source.splits)}."
        )
    if splits:
        chosen_splits = {split: source.splits[split] for split in splits}
        source = dataclasses.replace(source, splits=chosen_splits)

    def key(record: Record) -> bytes:
        record_id = record.example.features.feature["id"].bytes_list.value[0]
        return hash_key(f"{seed}/{record_id.decode(errors='replace')}")

    if fraction is not None:
        limit = int(fraction * 2**64)

        def chosen(record: Record) -> bool:
            return int.from_bytes(key(record)[:8]) < limit
    else:
        highest = _lowest_keys(source, key, num_records or per_class, bool(per_class))

        def chosen(record: Record) -> bool:
            return key(record) <= highest[_group(record, source, bool(per_class))]

    writer = DatasetWriter(
        output_dir, name, source.features, num_shards=num_shards, overwrite=overwrite
    )
    return copy_records(
        writer, [source], lambda _, record: record if chosen(record) else None
    )


def _check_amount(
    fraction: float | None, num_records: int | None, per_class: int | None
) -> None:
    given = {"fraction": fraction, "num_records": num_records, "per_class": per_class}
    given = {name: value for name, value in given.items() if value is not None}
    if len(given) != 1 or min(given.values()) <= 0 or (fraction or 0) > 1:
        raise ValueError(
            "One of fraction (in (0, 1]), num_records and per_class (1 or more) must "
            f"say how many records. Received: {given or 'none'}."
        )


def _lowest_keys(
    source: Any, key: Callable[[Record], bytes], count: int, by_class: bool
) -> dict[Any, bytes]:
    """The highest of the `count` lowest keys of each split, or of each class of it."""
    keys = collections.defaultdict(list)
    for record in read_all(source):
        keys[_group(record, source, by_class)].append(key(record))
    return {group: heapq.nsmallest(count, own)[-1] for group, own in keys.items()}


def _group(record: Record, source: Any, by_class: bool) -> Any:
    if not by_class:
        return record.split
    if "label" not in source.features:
        raise ValueError(
            "per_class needs records with a label. Received: features "
            f"{sorted(source.features)}; use num_records."
        )
    labels = record.example.features.feature["label"].int64_list.value
    return record.split, labels[0]
