"""Writes the records of a dataset into another number of shards."""

import pathlib

from tfrecords_tools.build_result import BuildResult
from tfrecords_tools.copying import copy_records, open_records
from tfrecords_tools.writer import DatasetWriter


def reshard_data(
    *,
    data: str | pathlib.Path,
    output_dir: str | pathlib.Path,
    name: str | None = None,
    num_shards: int | None = None,
    overwrite: bool = False,
) -> BuildResult:
    """Writes the same records, in the same order, into another number of shards.

    Args:
        data: Data directory (NAME/1.0.0, or NAME if there is one version).
        output_dir: Directory that will hold NAME/1.0.0/.
        name: Name of the new dataset; default: as it was.
        num_shards: Files per split; default: by size and number of records.
        overwrite: Replace the dataset if it exists.

    Returns:
        Directory, counts by split, size and time.

    Raises:
        ValueError: If it is no data directory, a record is broken, or the new dataset
            exists.
    """
    source = open_records(data)
    name = name or pathlib.Path(source.path).parent.name
    writer = DatasetWriter(
        output_dir, name, source.features, num_shards=num_shards, overwrite=overwrite
    )
    return copy_records(writer, [source], lambda _, record: record)
