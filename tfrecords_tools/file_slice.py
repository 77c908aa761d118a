"""A stretch of a file that is read like a file of its own."""

import dataclasses
import os
import pathlib


@dataclasses.dataclass(frozen=True, slots=True)
class FileSlice:
    """Some bytes of a larger file, such as one image of an archive.

    Attributes:
        path: The larger file.
        offset: Where the bytes begin.
        num_bytes: How many there are.
        name: What errors call them.

    Example:
        >>> _ = pathlib.Path("letters").write_bytes(b"abcdef")
        >>> FileSlice(pathlib.Path("letters"), 2, 3, "some").read_bytes()
        b'cde'
    """

    path: pathlib.Path
    offset: int
    num_bytes: int
    name: str

    def read_bytes(self) -> bytes:
        """The bytes."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.num_bytes)

    def stat(self) -> os.stat_result:
        """What the system knows of the larger file."""
        return self.path.stat()

    def __str__(self) -> str:
        return f"{self.path.name} {self.name}"
