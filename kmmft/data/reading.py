"""Opening a data directory or a set of shards, and checking them."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import tensorflow as tf

from kmmft.data.framing import FRAME_BYTES
from kmmft.data.tfrecord_files import check_uncompressed, count_records

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

METADATA_FILES = ("dataset_info.json", "features.json")
READ_BUFFER_BYTES = 1 << 20
# name-train.tfrecord-00000-of-00008, train.tfrecord, ...
_SHARD_NAME = re.compile(
    r"(?:.*-)?(?P<split>[^-]+)\.tfrecords?(-\d+(-of-(?P<total>\d+))?)?$"
)


@dataclasses.dataclass(frozen=True)
class Split:
    """The shards of one split. `num_bytes` counts payloads; 0 when not known."""

    name: str
    files: tuple[str, ...]
    shard_lengths: tuple[int, ...]
    num_bytes: int = 0

    @property
    def num_records(self) -> int:
        return sum(self.shard_lengths)


@dataclasses.dataclass(frozen=True)
class RecordSource:
    """Where records are and what is in them; made by `open_source`."""

    path: str
    features: tfds.features.FeaturesDict
    splits: dict[str, Split]

    def split(self, name: str, *, on_error: str = "raise") -> Split:
        """Returns a split, after checking that its shards are there and whole.

        Args:
            name: Name of the split.
            on_error: `"skip"`, only that they are there and not compressed: whoever
                reads them deals with damage.

        Returns:
            `Split`.

        Raises:
            ValueError: If there is no such split, or a shard of it is missing,
                truncated, or has another number of records than declared.
        """
        if name not in self.splits:
            raise ValueError(
                f"There must be a split of this name in {self.path}. "
                f"Received: split={name!r}. Choose one of {sorted(self.splits)}."
            )
        split = self.splits[name]
        _check_present(split)
        _check_whole(split, on_error)
        return split


def open_source(
    source: str | os.PathLike | RecordSource,
    schema: tfds.features.FeaturesDict | None = None,
    *,
    on_error: str = "raise",
) -> RecordSource:
    """Opens a TFDS directory, or bare TFRecord shards.

    All that `tf.io.gfile` can read can be opened, such as `gs://...`.

    Args:
        source: A TFDS directory (`.../name/1.0.0`, or its parent if there is only
            one version), or a glob of shards. The splits of bare shards are named
            by their files (`name-train.tfrecord-00000-of-00008` is in `train`);
            shards without such a name are in the split `all`.
        schema: Features of the records. A TFDS directory, and shards beside a
            `features.json`, know their own; then each feature of the schema must
            be among them.
        on_error: `"skip"`, a damaged bare shard counts as many records as are found
            in it, readable or not.

    Returns:
        `RecordSource`.

    Raises:
        ValueError: If nothing is found, shards have no schema, or the records lack
            a feature of the schema.
    """
    if isinstance(source, RecordSource):
        return source
    path = os.fspath(source)
    if tf.io.gfile.isdir(path):
        opened = _open_directory(_version_directory(path))
    else:
        opened = _open_shards(path, schema, on_error)
    missing = sorted(set(schema or ()) - set(opened.features))
    if missing:
        raise ValueError(
            f"The records of {path} must have the features of the schema. "
            f"Received: no {', '.join(missing)} among {sorted(opened.features)}. "
            "Pass the schema that the records were written with."
        )
    return opened


def check_splits(
    source: RecordSource, names: Sequence[str] = ("train", "validation", "test")
) -> RecordSource:
    """Raises unless the splits of a run are there and have records, before it begins.

    A run that learns for hours would else end where it reads the first test record.

    Args:
        source: What `open_source` returned.
        names: The splits.

    Returns:
        `source`.

    Raises:
        ValueError: If a split is not there, has no records, or lacks a shard.

    Example::

        source = kmmft.data.check_splits(kmmft.data.open_source("data/pets/1.0.0"))
    """
    counts = {
        name: source.split(name, on_error="skip").num_records for name in source.splits
    }
    empty = [name for name in names if not counts.get(name)]
    if empty:
        found = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        raise ValueError(
            f"The splits {', '.join(names)} of {source.path} must have records. "
            f"Received: none in {', '.join(empty)}; there are {found or 'no splits'}. "
            "Build them anew, with a column that names each row's split or with larger "
            "--validation_fraction and --test_fraction of `python -m tfrecords_tools "
            "build`: 5 % of a few rows may be none. Remove first what a recipe built."
        )
    return source


def _version_directory(path: str) -> str:
    if _is_data_directory(path):
        return path
    names = sorted(name.rstrip("/") for name in tf.io.gfile.listdir(path))
    children = [os.path.join(path, name) for name in names]
    versions = [child for child in children if _is_data_directory(child)]
    if len(versions) == 1:
        return versions[0]
    wanted = " and ".join(METADATA_FILES)
    if versions:
        several = ", ".join(os.path.basename(version) for version in versions)
        raise ValueError(
            f"A directory with several versions cannot be opened. Received: {path}, "
            f"with {several}. Pass the path of one version."
        )
    raise ValueError(
        f"A data directory must hold {wanted}, or one version directory that does. "
        f"Received: {path}, with {names[:5]}. Pass the directory "
        "that was written (.../name/1.0.0), or a glob of shards with a schema."
    )


def _is_data_directory(path: str) -> bool:
    return all(_is_file(os.path.join(path, name)) for name in METADATA_FILES)


def _is_file(path: str) -> bool:
    return tf.io.gfile.exists(path) and not tf.io.gfile.isdir(path)


def _open_directory(path: str) -> RecordSource:
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(path)
    file_format = builder.info.file_format
    if file_format is not None and file_format.value != "tfrecord":
        raise ValueError(
            f"Records must be in TFRecord files. Received: {path}, written as "
            f"{file_format.value}. Write it again with file_format='tfrecord'."
        )
    splits = {
        name: Split(
            name,
            tuple(os.fspath(file) for file in split.filepaths),
            tuple(split.shard_lengths),
            split.num_bytes or 0,
        )
        for name, split in builder.info.splits.items()
    }
    return RecordSource(path, builder.info.features, splits)


def _open_shards(
    pattern: str, schema: tfds.features.FeaturesDict | None, on_error: str
) -> RecordSource:
    files = sorted(file for file in tf.io.gfile.glob(pattern) if _is_file(file))
    if not files:
        raise ValueError(
            "`source` must be a data directory or a glob that matches shards. "
            f"Received: {pattern}, which matches nothing. Correct the path."
        )
    directory = os.path.dirname(files[0])
    if _is_file(os.path.join(directory, "features.json")):
        import tensorflow_datasets as tfds

        schema = tfds.features.FeatureConnector.from_config(directory)
    if schema is None:
        raise ValueError(
            f"Bare shards need a schema. Received: {pattern}, schema=None, and no "
            "features.json beside the shards. Pass the schema that they were written "
            "with, such as kmmft.data.schema.image_text()."
        )
    groups: dict[str, list[str]] = {}
    for file in files:
        match = _SHARD_NAME.match(os.path.basename(file))
        groups.setdefault(match["split"] if match else "all", []).append(file)
    splits = {
        name: _counted_split(name, group, on_error) for name, group in groups.items()
    }
    return RecordSource(pattern, schema, splits)


def _counted_split(name: str, files: list[str], on_error: str) -> Split:
    """A split without metadata: its file names tell how many shards there are."""
    match = _SHARD_NAME.match(os.path.basename(files[0]))
    total = match and match["total"]
    if total and int(total) != len(files):
        raise ValueError(
            f"All shards of a split must be there. Received: {len(files)} of "
            f"{int(total)} shards of split {name!r} beside {files[0]}. Copy or build "
            "the others again."
        )
    lengths = tuple(count_records(file, on_error=on_error) for file in files)
    size = sum(tf.io.gfile.stat(file).length for file in files)
    return Split(name, tuple(files), lengths, size - FRAME_BYTES * sum(lengths))


def _check_present(split: Split) -> None:
    missing = [file for file in split.files if not _is_file(file)]
    if missing:
        raise ValueError(
            f"All shards of a split must be there. Received: split {split.name!r} "
            f"without {', '.join(missing[:3])} ({len(missing)} of {len(split.files)} "
            "missing). Copy or build them again."
        )


def _check_whole(split: Split, on_error: str) -> None:
    size = sum(tf.io.gfile.stat(file).length for file in split.files)
    if size == split.num_bytes + FRAME_BYTES * split.num_records:
        return
    # The sizes do not add up (or are not known): the framing tells which shard it is.
    for file, declared in zip(split.files, split.shard_lengths, strict=True):
        check_uncompressed(file)
        if on_error == "skip":
            continue
        records = count_records(file)
        if records != declared:
            raise ValueError(
                f"A shard must hold the records that are declared. Received: {file} "
                f"with {records} of {declared} records. Copy or build it again."
            )
