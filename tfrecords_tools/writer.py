"""Writes records into a directory that `tfds.builder_from_directory` opens."""

import difflib
import logging
import math
import os
import pathlib
import re
import shutil
import types
import uuid
from typing import TYPE_CHECKING, Any, Self

from tfrecords_tools.dataset_info import write_info
from tfrecords_tools.split_spool import SplitSpool, usual_num_shards

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

_logger = logging.getLogger(__name__)


class DatasetWriter:
    """Writes a TFDS directory `output_dir/name/version/`, whole or not at all.

    Everything goes into a hidden directory inside `output_dir`, which takes its
    final name when the `with` block ends well. An exception, or a kill, leaves
    nothing under the final name. The same records give the same bytes.

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
    ):
        self.output_dir = pathlib.Path(output_dir)
        self.name = name
        self.features = features
        self.version = version
        self.num_shards = num_shards
        self.shard_megabytes = shard_megabytes
        self.description = description
        self.overwrite = overwrite
        self.directory = self.output_dir / name / version
        self._check_arguments()
        self._temporary: pathlib.Path | None = None
        self._serializer: tfds.core.ExampleSerializer | None = None
        self._spools: dict[str, SplitSpool] = {}
        self._split_of_id: dict[str, str] = {}

    @property
    def num_records(self) -> dict[str, int]:
        """Number of records written so far, by split; train, validation, test first."""
        usual = ["train", "validation", "test"]
        order = usual + sorted(self._spools.keys() - set(usual))
        return {
            split: len(self._spools[split].record_bytes)
            for split in order
            if split in self._spools
        }

    def __enter__(self) -> Self:
        import tensorflow_datasets as tfds

        prefix = f".{self.name}-{self.version}.incomplete-"
        for leftover in sorted(self.output_dir.glob(f"{prefix}*")):
            _logger.warning(
                "%s is left from a build that was killed, or one still at work. "
                "Delete it if none is.",
                leftover,
            )
        self._temporary = self.output_dir / f"{prefix}{uuid.uuid4().hex[:8]}"
        self._temporary.mkdir(parents=True)
        self._serializer = tfds.core.ExampleSerializer(
            self.features.get_serialized_info()
        )
        return self

    def write(self, split: str, record: dict[str, Any]) -> None:
        """Appends one record to a split.

        Args:
            split: Name of the split, such as `"train"`.
            record: Dict with one value for each feature. Images are encoded bytes.
        """
        self._check_record(split, record)
        try:
            example = self._serializer.get_tf_example(
                self.features.encode_example(record)
            )
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(
                "A record must fit the features. Received: record "
                f"{record['id']!r} of split {split!r}, which cannot be encoded "
                f"({reason}); mend the value or the features."
            ) from error
        # Otherwise the features of a record stand in another order in each process.
        self._append(split, record["id"], example.SerializeToString(deterministic=True))

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
        (self._temporary / file_name).write_text(text, encoding="utf-8")

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        try:
            for spool in self._spools.values():
                spool.close()
            if exception_type is None:
                self._finish()
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    # === Checks ===

    def _check_arguments(self) -> None:
        if not re.fullmatch(r"[a-zA-Z]\w*", self.name, re.ASCII):
            raise ValueError(
                "name must be letters, digits and '_', and begin with a letter. "
                f"Received: name={self.name!r}; choose another name."
            )
        if not re.fullmatch(r"\d+\.\d+\.\d+", self.version):
            raise ValueError(
                "version must be three numbers such as '1.0.0'. "
                f"Received: version={self.version!r}."
            )
        given = self.num_shards
        for number in given.values() if isinstance(given, dict) else [given]:
            if number is not None and number < 1:
                raise ValueError(
                    "num_shards must be 1 or more, or None for a number by size. "
                    f"Received: num_shards={given}."
                )
        if self.directory.exists():
            self._check_overwrite()

    def _check_overwrite(self) -> None:
        if not self.overwrite:
            raise ValueError(
                f"The dataset must not be there yet. Received: {self.directory}, which "
                "exists; pass overwrite=True (--overwrite) or choose another name."
            )
        if not (self.directory / "dataset_info.json").exists():
            raise ValueError(
                "Only a dataset is ever overwritten. Received: "
                f"{self.directory}, which holds no dataset_info.json; delete it "
                "yourself or choose another name."
            )

    def _check_record(self, split: str, record: dict[str, Any]) -> None:
        self._check_id(split, record.get("id"))
        if record.keys() != self.features.keys():
            raise ValueError(self._wrong_keys(split, record))

    def _check_id(self, split: str, record_id: Any) -> None:
        if self._temporary is None:
            raise ValueError(
                "DatasetWriter writes inside a `with` block. Received: write() outside "
                "of one; use `with DatasetWriter(...) as writer:`."
            )
        if not isinstance(record_id, str) or not record_id:
            raise ValueError(
                "A record must have a non-empty string 'id'. Received: "
                f"id={record_id!r} in split {split!r}; give each record its own id."
            )
        if record_id in self._split_of_id:
            raise ValueError(
                f"An id must come once in a dataset. Received: id {record_id!r} in "
                f"split {split!r}, which is already in split "
                f"{self._split_of_id[record_id]!r}; give each record its own id."
            )

    def _wrong_keys(self, split: str, record: dict[str, Any]) -> str:
        message = (
            "A record must have the keys of the features. Received: record "
            f"{record['id']!r} of split {split!r}"
        )
        for key in sorted(self.features.keys() - record.keys()):
            near = difflib.get_close_matches(key, record.keys(), n=1)
            message += f" without {key!r}" + (f" (but {near[0]!r})" if near else "")
        unknown = sorted(record.keys() - self.features.keys())
        if unknown:
            message += f" with unknown {', '.join(map(repr, unknown))}"
        return f"{message}; the keys are {', '.join(sorted(self.features.keys()))}."

    # === Files ===

    def _append(self, split: str, record_id: str, payload: bytes) -> None:
        spool = self._spools.get(split) or self._open_spool(split)
        spool.write(payload)
        self._split_of_id[record_id] = split

    def _open_spool(self, split: str) -> SplitSpool:
        # A '-' would be allowed by TFDS but makes shard names ambiguous.
        if not re.fullmatch(r"[a-zA-Z]\w*", split, re.ASCII) or split == "all":
            raise ValueError(
                "A split's name must be letters, digits and '_', begin with a letter, "
                f"and not be 'all'. Received: split={split!r}; rename the split."
            )
        spool = SplitSpool(self._temporary / f"{self.name}-{split}.tfrecord")
        self._spools[split] = spool
        return spool

    def _finish(self) -> None:
        if not self._spools:
            raise ValueError(
                "A dataset must have at least one record. Received: none for "
                f"{self.name!r}; check the source."
            )
        shards = {
            split: self._spools[split].cut_into_shards(self._shards_of(split))
            for split in self.num_records
        }
        write_info(
            self._temporary,
            self.features,
            name=self.name,
            version=self.version,
            description=self.description,
            shards=shards,
            num_bytes={
                split: sum(self._spools[split].record_bytes) for split in shards
            },
        )
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        if self.overwrite and self.directory.exists():
            replaced = pathlib.Path(
                str(self._temporary).replace(".incomplete-", ".replaced-")
            )
            self.directory.rename(replaced)
            self._temporary.rename(self.directory)
            shutil.rmtree(replaced)
        else:
            self._temporary.rename(self.directory)

    def _shards_of(self, split: str) -> int:
        lengths = self._spools[split].record_bytes
        number = self.num_shards
        if isinstance(number, dict):
            number = number.get(split)
        if number is None and self.shard_megabytes:
            number = math.ceil(sum(lengths) / (self.shard_megabytes * 1e6))
        return max(1, min(number or usual_num_shards(lengths), len(lengths)))
