"""Makes one dataset of several."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfrecords_tools.build_result import BuildResult
from tfrecords_tools.copying import Record, copy_records, open_records
from tfrecords_tools.writer import DatasetWriter

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

_LABEL = "ClassLabel"


def merge_data(
    *,
    data: Sequence[str],
    output_dir: str | pathlib.Path,
    name: str,
    prefix_ids: bool = False,
    num_shards: int | None = None,
    overwrite: bool = False,
) -> BuildResult:
    """Writes the records of several datasets into one, split by split.

    Features must be alike; names of classes are united, and labels renumbered.

    Args:
        data: Data directories, in the order of writing.
        output_dir: Directory that will hold NAME/1.0.0/.
        name: Name of the new dataset.
        prefix_ids: Begin each id with the name of its dataset; else an id that two
            datasets have is an error.
        num_shards: Files per split; default: by size and number of records.
        overwrite: Replace the dataset if it exists.

    Returns:
        Directory, counts by split, size and time.

    Raises:
        ValueError: If features differ, an id comes twice, a record is broken, or the
            new dataset exists.
    """
    if len(data) < 2:
        raise ValueError(f"Two datasets or more are merged. Received: {list(data)}.")
    sources = [open_records(one) for one in data]
    features, renumber = _united(sources)

    def change(index: int, record: Record) -> Record:
        if not prefix_ids and not renumber[index]:
            return record
        example = record.example
        values = example.features.feature
        if prefix_ids:
            prefix = pathlib.Path(sources[index].path).parent.name.encode()
            values["id"].bytes_list.value[0] = (
                prefix + b"/" + values["id"].bytes_list.value[0]
            )
        for label, numbers in renumber[index].items():
            own = values[label].int64_list.value
            # -1 stands for a label that is not known.
            own[:] = [numbers[number] if number >= 0 else number for number in own]
        return Record(record.split, example.SerializeToString(deterministic=True))

    writer = DatasetWriter(
        output_dir, name, features, num_shards=num_shards, overwrite=overwrite
    )
    return copy_records(writer, sources, change)


def _united(
    sources: Sequence[Any],
) -> tuple["tfds.features.FeaturesDict", list[dict[str, list[int]]]]:
    """Features with all classes, and for each source its labels' new numbers."""
    import tensorflow_datasets as tfds

    first = dict(sources[0].features)
    for source in sources[1:]:
        if _kinds(first) != _kinds(source.features):
            raise ValueError(
                "Datasets that are merged must have the same features. Received: "
                f"{_kinds(first)} in {sources[0].path}, {_kinds(source.features)} in "
                f"{source.path}."
            )
    renumber: list[dict[str, list[int]]] = [{} for _ in sources]
    labels = [name for name, kind in _kinds(first).items() if kind == _LABEL]
    for label in labels:
        own = [source.features[label].names for source in sources]
        names = list(dict.fromkeys(name for part in own for name in part))
        first[label] = tfds.features.ClassLabel(names=names)
        for numbers, part in zip(renumber, own, strict=True):
            if part != names[: len(part)]:
                numbers[label] = [names.index(name) for name in part]
    return tfds.features.FeaturesDict(first), renumber


def _kinds(features: Mapping) -> dict[str, str]:
    """What each feature is; class names may differ."""
    import tensorflow_datasets as tfds

    return {
        name: _LABEL
        if isinstance(feature, tfds.features.ClassLabel)
        else " ".join(str(feature).split())
        for name, feature in sorted(features.items())
    }
