"""Images and sounds that stand inside of tables, not in files of their own."""

import dataclasses
import hashlib
import pathlib
import tempfile
import types
from typing import IO, Any, Self

from tfrecords_tools.file_slice import FileSlice
from tfrecords_tools.sources.annotation_formats import Rows

# Of the hash of a file: more than enough to tell all files of a dataset apart.
_KEY_CHARACTERS = 32


@dataclasses.dataclass(frozen=True, slots=True)
class EmbeddedFile(FileSlice):
    """A file that stood in a cell of a table, and where its bytes are now.

    Attributes:
        key: Hash of its bytes, so that what is the same is known as the same.
    """

    key: str

    def __str__(self) -> str:
        return self.name


class EmbeddedFiles:
    """Takes the files out of the cells of a table, into one file on disk.

    Records are written in another order than tables are read in, and memory does not
    hold all of a large one. What comes several times is kept once. The file is deleted
    when the `with` block ends.

    Args:
        directory: Where the file is kept meanwhile. Made if it is not there.
    """

    def __init__(self, directory: pathlib.Path):
        self._directory = directory
        self._folder: tempfile.TemporaryDirectory | None = None
        self._written: IO[bytes] | None = None
        self._found: dict[str, EmbeddedFile] = {}

    @property
    def folder(self) -> pathlib.Path | None:
        """Where the file is, if there is one."""
        return self._folder and pathlib.Path(self._folder.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: type[BaseException] | types.TracebackType | None):
        if self._written is not None:
            self._written.close()
            self._folder.cleanup()

    def take_out(self, rows: Rows, column: str | None) -> Rows:
        """The rows with an `EmbeddedFile` in place of bytes in a column.

        Cells may be bytes, or the dicts with `bytes` and `path` of Hugging Face's
        `datasets`; without bytes, the path takes the place of such a dict.

        Args:
            rows: Places and values by column.
            column: The column; None leaves the rows as they are.

        Yields:
            Places and values. The files can be read when all rows are through.
        """
        for place, row in rows:
            cell = row.get(column)
            name = str(place)
            if isinstance(cell, dict) and cell.keys() == {"bytes", "path"}:
                name = cell["path"] or name
                cell = cell["path"] if cell["bytes"] is None else cell["bytes"]
            if isinstance(cell, bytes):
                cell = self._add(cell, name)
            yield place, (row if column is None else row | {column: cell})
        if self._written is not None:
            self._written.flush()

    def _add(self, content: bytes, name: str) -> EmbeddedFile:
        key = hashlib.sha256(content).hexdigest()[:_KEY_CHARACTERS]
        if key in self._found:
            return self._found[key]
        if self._written is None:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._folder = tempfile.TemporaryDirectory(
                dir=self._directory, prefix=".unpacked-"
            )
            self._written = open(self.folder / "files", "wb")  # noqa: SIM115
        path, start = self.folder / "files", self._written.tell()
        self._written.write(content)
        file = EmbeddedFile(path, start, len(content), name, key)
        self._found[key] = file
        return file


def value_at(row: dict[str, Any], column: str) -> Any:
    """The value of a column, or of a field inside of one: `captions.text`.

    Of a list of structs it is the list of their fields. What is not there is None.

    Example:
        >>> value_at({"captions": [{"text": "a"}, {"text": "b"}]}, "captions.text")
        ['a', 'b']
    """
    if column in row:
        return row[column]
    first, *fields = column.split(".")
    value = row.get(first)
    for field in fields:
        value = _field(value, field)
    return value


def _field(value: Any, field: str) -> Any:
    if isinstance(value, list):
        return [_field(one, field) for one in value]
    return value.get(field) if isinstance(value, dict) else None
