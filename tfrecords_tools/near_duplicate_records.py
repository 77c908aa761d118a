"""Groups records whose images look nearly alike."""

import concurrent.futures
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfrecords_tools.image_bytes import opened_image, read_image
from tfrecords_tools.image_changes import plain_image
from tfrecords_tools.near_duplicates import (
    HASH_SIDE,
    group_near_duplicates,
    join_groups,
    perceptual_hash,
)
from tfrecords_tools.progress import progress_bar
from tfrecords_tools.source_record import SourceRecord


def group_records(
    records: Sequence[SourceRecord], num_workers: int | None
) -> list[int]:
    """Groups records by what their images show, and by their groups.

    Every image is compared with every other: twice as many take four times as long.
    20,000 take some 6 s of one CPU, 100,000 three minutes, a million hours.

    Args:
        records: The records.
        num_workers: Number of threads; None for one for each processor.

    Returns:
        The group of each record: the smallest number of a record in it. An image that
        cannot be read looks like no other.
    """
    images = list(dict.fromkeys(one.image for one in records if one.image is not None))
    hashes = {}
    with (
        concurrent.futures.ThreadPoolExecutor(num_workers or os.cpu_count()) as pool,
        progress_bar("Looking for near-duplicates", len(images)) as advance,
    ):
        for image, found in zip(images, pool.map(_hash, images), strict=True):
            if found is not None:
                hashes[image] = found
            advance()
    looks = {}
    if hashes:
        groups = group_near_duplicates(np.stack(list(hashes.values())))
        looks = dict(zip(hashes, groups, strict=True))
    keys = [
        [looks.get(record.image, f"record {n}") for n, record in enumerate(records)],
        [record.group or f"id {record.values['id']}" for record in records],
        [record.image or f"record {n}" for n, record in enumerate(records)],
    ]
    return join_groups(len(records), [], keys)


def _hash(image: Any) -> np.ndarray | None:
    try:
        encoded = read_image(image, decode=False)
        with opened_image(encoded) as opened:
            side = 4 * HASH_SIDE
            small = plain_image(opened, 4 * side, "JPEG").convert("L")
            return perceptual_hash(np.asarray(small.resize((side, side))))
    except Exception:
        # What is wrong with it is told when it is to be written; decoders raise
        # almost anything on broken files.
        return None
