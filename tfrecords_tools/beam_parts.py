"""What the workers of a Beam runner do: write parts of a dataset, then its shards.

A part holds the records of one stretch of the order of writing, a file for each split.
The parts of a split one after the other are what one machine would have written, so a
shard is a range of their bytes, and no record is sorted or sent between workers. Where
things are is known by all: the folder must be one that the workers share.
"""

import contextlib
import dataclasses
import json
import pathlib
import pickle
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfrecords_tools.bad_rows import LeftOut
from tfrecords_tools.build_journal import RecordDigest
from tfrecords_tools.image_loading import load_ahead
from tfrecords_tools.record_contents import record_content
from tfrecords_tools.record_encoder import RecordEncoder, check_id
from tfrecords_tools.source_record import SourceRecord
from tfrecords_tools.split_spool import SplitSpool, describe_shard

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

_COPY_BYTES = 4 * 2**20


@dataclasses.dataclass(frozen=True)
class PartJob:
    """Reads, checks, changes and serialises the records of a part.

    Attributes:
        folder: Where the parts are.
        features: What a record is.
        load: Reads the file of a record.
        feature: Name of the feature that files hold.
        keep: The user's own filter.
        skip_bad: Leave bad records out; otherwise the first one ends the build.
        scratch: Folder of files that the source made for this build only.
    """

    folder: pathlib.Path
    features: "tfds.features.FeaturesDict"
    load: Callable[[Any], Any]
    feature: str
    keep: Callable[[dict[str, Any]], bool] | None
    skip_bad: bool
    scratch: pathlib.Path | None

    def __call__(self, number: int) -> None:
        """Writes a part, if it is not there yet.

        Args:
            number: Which.
        """
        if self._stop.exists():
            return
        rows = pickle.loads(self.rows_file(number).read_bytes())
        digest = RecordDigest(self.scratch)
        for record in rows:
            digest.add(record)
        result = self.result(number)
        if not result or not result["whole"] or result["digest"] != digest.value():
            result = {"digest": digest.value(), "error": None, "whole": False}
            result |= {"splits": {}, "left_out": []}
            try:
                self._write(number, rows, result)
            except ValueError as error:
                result["error"] = str(error)
            with _whole_file(self._result_file(number)) as path:
                path.write_text(json.dumps(result), encoding="utf-8")
        bad = any(name is None for _, name, _ in result["left_out"])
        if result["error"] or (bad and not self.skip_bad):
            self._stop.touch()

    def rows_file(self, number: int) -> pathlib.Path:
        """Where the records of a part are, as they are before."""
        return self.folder / f"{number:08d}.rows"

    def part_file(self, number: int, split: str) -> pathlib.Path:
        """Where the serialised records of a part are, of one split."""
        return self.folder / f"{number:08d}-{split}.tfrecord"

    def result(self, number: int) -> dict[str, Any] | None:
        """What a worker told of a part; None if none did.

        `splits` has the sizes of the records, `left_out` the numbers in the part of
        those that are not there, with the filter (None for bad ones) and the reason.
        `whole` is False if there was an `error`, or a bad record that ends the build.
        """
        try:
            return json.loads(self._result_file(number).read_bytes())
        except FileNotFoundError:
            return None

    def forget_stop(self) -> None:
        """Lets the workers work again after an error, also on the parts that had it."""
        self._stop.unlink(missing_ok=True)
        for file in self.folder.glob("[0-9]*.json"):
            if not json.loads(file.read_bytes())["whole"]:
                file.unlink()

    @property
    def _stop(self) -> pathlib.Path:
        return self.folder / "stop"

    def _result_file(self, number: int) -> pathlib.Path:
        return self.folder / f"{number:08d}.json"

    def _write(
        self, number: int, rows: Sequence[SourceRecord], result: dict[str, Any]
    ) -> None:
        encoder, split_of_id = RecordEncoder(self.features), {}
        with contextlib.ExitStack() as stack:
            spools: dict[str, SplitSpool] = {}
            # The runner decides how much is done at a time, so one thread is enough.
            loaded = stack.enter_context(
                contextlib.closing(load_ahead(rows, self.load, num_workers=1))
            )
            for place, (record, content) in enumerate(loaded):
                content = record_content(record, content, self.feature, self.keep)
                payload = _encode(record, content, encoder, split_of_id)
                if isinstance(payload, Exception):
                    name = payload.filter if isinstance(payload, LeftOut) else None
                    result["left_out"].append([place, name, str(payload)])
                    if name is None and not self.skip_bad:
                        return
                    continue
                if record.split not in spools:
                    file = self.part_file(number, record.split)
                    path = stack.enter_context(_whole_file(file))
                    spool = spools[record.split] = SplitSpool(path)
                    stack.callback(spool.close)
                spools[record.split].write(payload)
                split_of_id[record.values["id"]] = record.split
            result["splits"] = {
                split: list(spool.record_bytes) for split, spool in spools.items()
            }
            result["whole"] = True


@dataclasses.dataclass(frozen=True)
class ShardJob:
    """Puts a shard together of ranges of the parts' bytes.

    Attributes:
        folder: Where the tasks are.
        data: Where the shards are written.
    """

    folder: pathlib.Path
    data: pathlib.Path

    def __call__(self, number: int) -> None:
        """Writes a shard, if it is not there yet.

        Args:
            number: Which.
        """
        if self.result(number) is not None:
            return
        task = json.loads(self.task_file(number).read_bytes())
        with _whole_file(self.data / task["file"]) as path:
            with path.open("wb") as target:
                for part, start, num_bytes in task["ranges"]:
                    _copy(self.folder / part, start, num_bytes, target)
            described = describe_shard(path, task["num_records"])
        with _whole_file(self._result_file(number)) as path:
            path.write_text(json.dumps(described | {"file": task["file"]}))

    def task_file(self, number: int) -> pathlib.Path:
        """What is to be done: `file`, `num_records`, and `ranges` of parts' bytes."""
        return self.folder / f"shard-{number:08d}.task"

    def result(self, number: int) -> dict[str, Any] | None:
        """What `describe_shard` told; None if the shard is not whole."""
        try:
            return json.loads(self._result_file(number).read_bytes())
        except FileNotFoundError:
            return None

    def _result_file(self, number: int) -> pathlib.Path:
        return self.folder / f"shard-{number:08d}.json"


def _encode(
    record: SourceRecord,
    content: dict[str, Any] | Exception,
    encoder: RecordEncoder,
    split_of_id: Mapping[str, str],
) -> bytes | Exception:
    """The bytes to write, or why there are none."""
    if isinstance(content, Exception):
        return content
    try:
        # Records with the same id are always in one part.
        check_id(record.values["id"], record.split, split_of_id)
        return encoder.encode(record.split, record.values | content)
    except ValueError as error:
        return error


@contextlib.contextmanager
def _whole_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A name to write under; the file gets its own when it is whole.

    Runners may do the same work twice at a time.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _copy(path: pathlib.Path, start: int, num_bytes: int, target: Any) -> None:
    with path.open("rb") as source:
        source.seek(start)
        while num_bytes:
            block = source.read(min(num_bytes, _COPY_BYTES))
            if not block:
                raise OSError(f"{path} is shorter than it was")
            target.write(block)
            num_bytes -= len(block)
