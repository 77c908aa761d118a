"""Tells what a data directory holds."""

import dataclasses
import io
import json as json_format
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kmmft.data.framing import read_frames
from tfrecords_tools.inspection_tables import tables_of
from tfrecords_tools.progress import progress_bar
from tfrecords_tools.split_summary import SplitSummary

if TYPE_CHECKING:
    import tensorflow as tf

_FIRST_RECORDS = 3


@dataclasses.dataclass(frozen=True)
class InspectResult:
    """What a data directory holds.

    Attributes:
        directory: The data directory.
        features: Kind of each feature.
        splits: By split `records`, `shards`, `bytes`, `unreadable_records`, and what
            `SplitSummary` tells of `texts`, `images` and `labels`.
        first_records: The first records of the first split, as texts.
        as_json: Whether `str()` is JSON.
    """

    directory: pathlib.Path
    features: dict[str, str]
    splits: dict[str, dict[str, Any]]
    first_records: list[dict[str, str]]
    as_json: bool = False

    def __str__(self) -> str:
        if self.as_json:
            fields = dataclasses.asdict(self) | {"directory": str(self.directory)}
            return json_format.dumps(fields, ensure_ascii=False)
        from rich import console

        # Captions may hold what rich takes for markup.
        page = console.Console(file=io.StringIO(), width=100, markup=False)
        page.print(str(self.directory))
        for table in tables_of(self.features, self.splits, self.first_records):
            page.print(table)
        return page.file.getvalue().rstrip()


def inspect_data(
    *,
    data: str | pathlib.Path,
    max_records: int | None = None,
    json: bool = False,
) -> InspectResult:
    """Counts records, measures texts and images, and shows the first records.

    Images are not decoded: their headers tell format and size. Texts are cut into
    words at what is no letter or digit. Records whose framing is broken are counted
    (`verify` names them).

    Args:
        data: Data directory (NAME/1.0.0, or NAME if there is one version).
        max_records: Look at so many records of each split; default: at all.
        json: Print one JSON object.

    Returns:
        The numbers.

    Raises:
        ValueError: If it is no data directory, or a shard is missing.

    Example:
        >>> from tfrecords_tools import DatasetWriter
        >>> features = kmmft.data.schema.labelled(image=False, class_names=["good"])
        >>> with DatasetWriter("seen", "reviews", features) as writer:
        ...     writer.write("train", {"id": "a", "text": "Fine.", "label": "good"})
        >>> inspect_data(data="seen/reviews").splits["train"]["texts"]["text"]["count"]
        1
    """
    from kmmft.data import open_source

    if max_records is not None and max_records < 1:
        raise ValueError(
            f"max_records must be 1 or more. Received: max_records={max_records}."
        )
    source = open_source(data)
    splits, first = {}, []
    sizes = [split.num_records for split in source.splits.values()]
    total = sum(min(size, max_records or size) for size in sizes)
    with progress_bar("Inspecting", total) as advance:
        for split in source.splits.values():
            summary, broken, looked = SplitSummary(source.features), 0, 0
            for example in _examples(split.files):
                if looked == max_records:
                    break
                advance()
                looked += 1
                if example is None:
                    broken += 1
                    continue
                summary.add(example)
                if len(first) < _FIRST_RECORDS:
                    first.append(_shown(example, source.features))
            splits[split.name] = {
                "records": split.num_records,
                "shards": len(split.files),
                "bytes": sum(pathlib.Path(file).stat().st_size for file in split.files),
                "inspected": looked,
                "unreadable_records": broken,
                **summary.summary(),
            }
    kinds = {name: type(value).__name__ for name, value in source.features.items()}
    return InspectResult(pathlib.Path(source.path), kinds, splits, first, as_json=json)


def _examples(files: tuple[str, ...]):
    """The records; None for one that is lost."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    for file in files:
        if not pathlib.Path(file).is_file():
            raise ValueError(
                f"All shards must be there. Received: no {file}. "
                "Copy or build it again."
            )
        for frame in read_frames(file):
            try:
                yield tf.train.Example.FromString(frame.payload or b"\xff")
            except DecodeError:
                yield None


def _shown(example: "tf.train.Example", features: Mapping) -> dict[str, str]:
    record = {}
    for name, feature in sorted(example.features.feature.items()):
        # Of a label its name says more than its number.
        name_of = getattr(dict(features).get(name), "int2str", str)
        values = [
            *(_as_text(raw) for raw in feature.bytes_list.value[:5]),
            *(name_of(value) for value in feature.int64_list.value[:5]),
            *(f"{value:g}" for value in feature.float_list.value[:5]),
        ]
        record[name] = " | ".join(values)
    return record


def _as_text(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return f"{len(raw):,} bytes"
    return text if len(text) <= 120 else f"{text[:120]}..."
