"""Writes records into a directory that `tfds.builder_from_directory` opens."""

import contextlib
import logging
import os
import pathlib
import types
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from tfrecords_tools.dataset_info import write_info
from tfrecords_tools.incomplete_directory import IncompleteDirectory
from tfrecords_tools.record_encoder import RecordEncoder, check_id
from tfrecords_tools.source_record import SourceRecord
from tfrecords_tools.split_spool import ShardSize, SplitSpool, usual_num_shards
from tfrecords_tools.split_spools import SplitSpools, payload_bytes, shards_by_size
from tfrecords_tools.writer_arguments import check_arguments, check_place

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

_logger = logging.getLogger(__name__)


class DatasetWriter:
    """Writes a TFDS directory `output_dir/name/version/`, whole or not at all.

    Everything goes into a hidden directory inside `output_dir`, which takes its
    final name when the `with` block ends well. An exception, or a kill, leaves
    nothing under the final name. The same records give the same bytes. A second
    writer of the same directory is refused while the first is at work.

    Records keep the order of writing: the first shard holds the first records. The
    shards of a split differ by at most one record. File names, record counts, byte
    sizes and SHA-256 sums stand in `metadata.json`
    (`tfds.builder_from_directory(directory).info.metadata["shards"]`).

    Args:
        output_dir: Directory that will hold `name/version/`.
        name: Name of the dataset: letters, digits and `_`.
        features: `tfds.features.FeaturesDict` with a text feature `id`.
        version: Version of the dataset, three numbers.
        num_shards: Shards per split, or a dict from split to shards. By default one
            for every 128 MiB, and at least 4 for splits of 1000 records or more,
            so that small sets are read in parallel too. Never more than records.
        shard_megabytes: Size of a shard, about, in place of `num_shards`.
        description: Text for `dataset_info.json`.
        overwrite: Replace a dataset that is already there.
        resumable: Keep what a killed writer left, for `go_back_to`. Otherwise a new
            writer begins afresh.

    Raises:
        ValueError: If the name, version or number of shards is not valid, the
            dataset exists, a record does not fit the features, an id comes twice,
            or no record was written.

    Example:
        >>> import tensorflow_datasets as tfds
        >>> text = tfds.features.Text()
        >>> features = tfds.features.FeaturesDict({"id": text, "caption": text})
        >>> with DatasetWriter("data", "greetings", features) as writer:
        ...     writer.write("train", {"id": "a", "caption": "hello"})
        >>> builder = tfds.builder_from_directory(str(writer.directory))
        >>> builder.info.splits["train"].num_examples
        1
    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        name: str,
        features: "tfds.features.FeaturesDict",
        *,
        version: str = "1.0.0",
        num_shards: int | dict[str, int] | None = None,
        shard_megabytes: float | None = None,
        description: str = "",
        overwrite: bool = False,
        resumable: bool = False,
    ):
        self.output_dir = pathlib.Path(output_dir)
        self.name = name
        self.features = features
        self.version = version
        self.num_shards = num_shards
        self.shard_megabytes = shard_megabytes
        self.description = description
        self.overwrite = overwrite
        self.resumable = resumable
        self.directory = self.output_dir / name / version
        check_arguments(name, version, num_shards)
        self.incomplete = IncompleteDirectory(self.directory)
        self._keep = False
        self._open = False
        self._encoder: RecordEncoder | None = None
        sizes_file = self.incomplete.path / "shard_sizes.json"
        self._spools = SplitSpools(self.incomplete.data, sizes_file, name)
        self._split_of_id: dict[str, str] = {}

    @property
    def num_records(self) -> dict[str, int]:
        """Number of records written so far, by split; train, validation, test first."""
        return self._spools.num_records

    def __enter__(self) -> Self:
        self.incomplete.open()
        self._open = True
        try:
            # Another process may have been here since this one asked.
            check_place(self.directory, self.overwrite)
            if not self.resumable:
                self.start_afresh()
        except BaseException:
            self._close(keep=any(self.incomplete.data.iterdir()))
            raise
        self._encoder = RecordEncoder(self.features)
        return self

    def write(self, split: str, record: dict[str, Any]) -> None:
        """Appends one record to a split.

        Args:
            split: Name of the split, such as `"train"`.
            record: Dict with one value for each feature. Images are encoded bytes.
        """
        self._check_id(split, record.get("id"))
        self._append(split, record["id"], self._encoder.encode(split, record))

    def write_serialized(self, split: str, payload: bytes) -> None:
        """Appends one record of another dataset as it is.

        Args:
            split: Name of the split, such as `"train"`.
            payload: A serialised `tf.train.Example` with the features.

        Raises:
            ValueError: If its id comes twice, or it has none.
        """
        import tensorflow as tf

        values = tf.train.Example.FromString(payload).features.feature["id"]
        record_id = b"".join(values.bytes_list.value).decode(errors="replace")
        self._check_id(split, record_id)
        self._append(split, record_id, payload)

    def write_text_file(self, file_name: str, text: str) -> None:
        """Puts a text file beside the shards, such as a list of skipped rows."""
        path = self.incomplete.data / file_name
        path.write_text(text, encoding="utf-8", errors="surrogateescape")

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        try:
            # A full disk must not hide what went wrong before.
            with contextlib.suppress(*[OSError] if exception else []):
                self._spools.close()
            if exception is None:
                self._finish()
        except BaseException as error:
            exception = error
            raise
        finally:
            if exception is None:
                self._close(keep=False)
            else:
                if self._keep:
                    exception.add_note(
                        f"What is whole is kept in {self.incomplete.path}: the same "
                        "command goes on from there."
                    )
                self._close(keep=self._keep)

    # === Going on ===

    def start_afresh(self) -> None:
        """Deletes what a killed writer left."""
        if self.incomplete.holds_anything():
            _logger.warning(
                "%s was left by a build that did not end, and is deleted: this one "
                "starts afresh.",
                self.incomplete.path,
            )
            self.incomplete.clear()

    def position(self) -> dict[str, ShardSize]:
        """How many records and bytes each split has, all of them in its file.

        After this, an exception keeps what is written so far.
        """
        self._spools.flush()
        self._keep = True
        return self._spools.totals()

    def go_back_to(
        self,
        position: Mapping[str, ShardSize],
        split_of_id: Mapping[str, str],
        last: bool,
    ) -> bool:
        """Goes on where `position` was called, perhaps in another process.

        Args:
            position: What `position` returned.
            split_of_id: The splits of the records that were written by then.
            last: No record follows.

        Returns:
            False, if the records are not there or not whole; then nothing is changed.
        """
        self._keep = self._spools.go_back_to(position, last)
        if self._keep:
            self._split_of_id = dict(split_of_id)
        return self._keep

    def take_over(self, spools: Any, records: Iterable[SourceRecord]) -> None:
        """Ends with records that other processes have written.

        Args:
            spools: What has the records, in place of `SplitSpools`.
            records: The records.

        Raises:
            ValueError: If an id comes twice.
        """
        for record in records:
            self._check_id(record.split, record.values["id"])
            self._split_of_id[record.values["id"]] = record.split
        self._spools = spools

    # === Checks ===

    def _check_id(self, split: str, record_id: Any) -> None:
        if not self._open:
            raise ValueError(
                "DatasetWriter writes inside a `with` block. Received: write() outside "
                "of one; use `with DatasetWriter(...) as writer:`."
            )
        check_id(record_id, split, self._split_of_id)

    # === Files ===

    def _append(self, split: str, record_id: str, payload: bytes) -> None:
        self._spools.write(split, payload)
        self._split_of_id[record_id] = split

    def _finish(self) -> None:
        if not self.num_records:
            raise ValueError(
                "A dataset must have at least one record. Received: none for "
                f"{self.name!r}; check the source."
            )
        shards = self._spools.cut(self._shards_of)
        write_info(
            self.incomplete.data,
            self.features,
            name=self.name,
            version=self.version,
            description=self.description,
            shards=shards,
            num_bytes={
                split: payload_bytes(total)
                for split, total in self._spools.totals().items()
            },
        )
        self.incomplete.take_final_name()

    def _close(self, keep: bool) -> None:
        self.incomplete.close(keep)
        self._open = False

    def _shards_of(self, split: str, spool: SplitSpool) -> int:
        lengths = spool.record_bytes
        number = self.num_shards
        if isinstance(number, dict):
            number = number.get(split)
        if number is None and self.shard_megabytes:
            number = shards_by_size(payload_bytes(spool.total), self.shard_megabytes)
        return max(1, min(number or usual_num_shards(lengths), len(lengths)))
