"""Shows what a build would write."""

import collections
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from tfrecords_tools.bad_rows import BadRows
from tfrecords_tools.build_result import BuildPlan
from tfrecords_tools.source_record import SourceRecord

_SAMPLE = 3
_SAMPLE_CHARACTERS = 300


def plan_build(
    directory: pathlib.Path, records: Sequence[SourceRecord], bad_rows: BadRows
) -> BuildPlan:
    """Counts the records and looks whether their files are there.

    Args:
        directory: The directory of the dataset.
        records: What would be written, but for images that turn out to be bad or not
            wanted.
        bad_rows: The rows that are left out.

    Returns:
        Counts by split and reason, and the first records of each split as text.
    """
    counts = collections.Counter(record.split for record in records)
    usual = ["train", "validation", "test"]
    order = usual + sorted(counts.keys() - set(usual))
    shown = [
        record
        for split in order
        for record in [one for one in records if one.split == split][:_SAMPLE]
    ]
    images = {record.image for record in records} - {None}
    return BuildPlan(
        directory=directory,
        num_records={split: counts[split] for split in order if split in counts},
        skipped=bad_rows.counts(),
        num_missing=sum(not _is_there(image) for image in images),
        sample=tuple(map(_as_text, shown)),
    )


def _is_there(image: Any) -> bool:
    try:
        image.stat()
    except (OSError, ValueError):
        return False
    return True


def _as_text(record: SourceRecord) -> str:
    shown = dict(record.values)
    if record.image is not None:
        shown["file"] = str(record.image)
    text = json.dumps(shown, ensure_ascii=False, default=repr)
    if len(text) > _SAMPLE_CHARACTERS:
        text = f"{text[:_SAMPLE_CHARACTERS]}..."
    return f"  {record.split}: {text}"
