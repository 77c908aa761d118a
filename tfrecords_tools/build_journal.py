"""Remembers what of a build is whole, so that a build that was killed goes on."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tfrecords_tools.source_record import SourceRecord


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What was whole at one moment.

    Attributes:
        num_done: Records of the source that were dealt with.
        digest: Hash of these records and their files; see `RecordDigest`.
        position: Records and bytes of each split, as `DatasetWriter.position` tells.
        left_out: For each record that was not written since the checkpoint before:
            its number, the filter (None for a bad one) and the reason.
    """

    num_done: int
    digest: str
    position: dict[str, tuple[int, int]]
    left_out: tuple[tuple[int, str | None, str], ...]


class BuildJournal:
    """The checkpoints of a build, in a file with one JSON object a line.

    Args:
        path: The file.
        arguments: Hash of what the build was asked for; the checkpoints of another
            are not looked at.
    """

    def __init__(self, path: pathlib.Path, arguments: str):
        self._path = path
        self._arguments = arguments

    def read(self) -> list[Checkpoint]:
        """The checkpoints of a build with the same arguments, in order."""
        try:
            lines = self._path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            # A kill may have cut the last one.
            if not line.endswith(b"\n"):
                break
            entry = json.loads(line)
            if entry.pop("arguments") != self._arguments:
                return []
            position = {split: tuple(of) for split, of in entry["position"].items()}
            left_out = tuple(map(tuple, entry["left_out"]))
            entry |= {"position": position, "left_out": left_out}
            found.append(Checkpoint(**entry))
        return found

    def keep(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Forgets all other checkpoints."""
        new = self._path.with_suffix(".new")
        new.write_text("".join(map(self._line, checkpoints)), encoding="utf-8")
        new.replace(self._path)

    def append(self, checkpoint: Checkpoint) -> None:
        """Adds a checkpoint; what it tells of must be in its files already."""
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(self._line(checkpoint))

    def _line(self, checkpoint: Checkpoint) -> str:
        entry = {"arguments": self._arguments} | dataclasses.asdict(checkpoint)
        return json.dumps(entry) + "\n"


class RecordDigest:
    """A hash over records and the files that they are made from.

    A file is known by its path, size and time of change; one in `scratch`, which the
    source made for this build only, by its content.

    Args:
        scratch: Folder of such files.
    """

    def __init__(self, scratch: pathlib.Path | None = None):
        self._scratch = scratch
        self._hash = hashlib.sha256()

    def add(self, record: SourceRecord) -> None:
        """Takes in one record more."""
        row = [record.split, record.values, self._stamp(record.image)]
        places = [[place.file, place.line] for place in record.places]
        text = json.dumps([*row, places], sort_keys=True, default=_plain)
        self._hash.update(text.encode())

    def value(self) -> str:
        """The hash of the records so far, in hexadecimal digits."""
        return self._hash.hexdigest()

    def values_at(
        self, records: Sequence[SourceRecord], places: Iterable[int]
    ) -> Iterator[str]:
        """The hashes of the first so many records, for each of ascending numbers."""
        done = 0
        for place in places:
            for record in records[done:place]:
                self.add(record)
            done = place
            yield self.value()

    def _stamp(self, image: Any) -> list[Any] | None:
        if image is None:
            return None
        try:
            path = pathlib.Path(getattr(image, "path", image))
            if self._scratch is not None and path.is_relative_to(self._scratch):
                return [hashlib.sha256(image.read_bytes()).hexdigest()]
            stat = image.stat()
        except (OSError, ValueError):
            return [str(image)]
        return [str(image), stat.st_size, stat.st_mtime_ns]


def hash_of_arguments(arguments: Any) -> str:
    """A hash of what a build was asked for.

    Args:
        arguments: Anything that JSON can hold; of other things their `repr` counts.

    Example:
        >>> first = hash_of_arguments({"a": 1, "b": {2}})
        >>> first == hash_of_arguments({"b": {2}, "a": 1})
        True
    """
    text = json.dumps(arguments, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    return value.tolist() if hasattr(value, "tolist") else repr(value)
