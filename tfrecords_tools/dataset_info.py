"""Writes the JSON files that tell TFDS what a directory of shards holds."""

import os
import pathlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


def write_info(
    directory: pathlib.Path,
    features: "tfds.features.FeaturesDict",
    *,
    name: str,
    version: str,
    description: str,
    shards: dict[str, list[dict[str, Any]]],
    num_bytes: dict[str, int],
) -> None:
    """Writes `dataset_info.json`, `features.json`, label names and `metadata.json`.

    None of them holds a time or a path of this machine.

    Args:
        directory: Directory with the shards.
        features: What a record is.
        name: Name of the dataset.
        version: Version of the dataset.
        description: Text for people.
        shards: For each split its shards, as `SplitSpool.cut_into_shards` tells them.
        num_bytes: For each split the size of its records without framing.
    """
    import tensorflow_datasets as tfds

    info = tfds.core.DatasetInfo(
        builder=tfds.core.DatasetIdentity(
            name=name,
            version=tfds.core.Version(version),
            data_dir=os.fspath(directory),
            module_name="tfrecords_tools",
        ),
        description=description,
        features=features,
        metadata=tfds.core.MetadataDict({"shards": shards}),
    )
    info.set_file_format("tfrecord")
    splits = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[shard["num_records"] for shard in shards[split]],
            num_bytes=num_bytes[split],
        )
        for split in shards
    ]
    info.set_splits(tfds.core.SplitDict(splits))
    info.write_to_directory(directory)
