"""What a source makes of its rows: records whose images are not read yet."""

import dataclasses
import pathlib
from typing import Any

from tfrecords_tools.bad_rows import Place


@dataclasses.dataclass(frozen=True, slots=True)
class SourceRecord:
    """A record whose image or video is still a file.

    Attributes:
        split: Split that it belongs to; None to choose one by a hash of `group`.
        values: The record without its image or video; `id` is one of them.
        image: Path of the image or video; None for records without one. Anything
            hashable with `read_bytes()`, `stat()` and `str()` like those of a path
            does, such as a `FileSlice`.
        places: The rows that it was made from.
        group: What must not be torn apart, such as the path of an image or a person;
            None for the id.
    """

    split: str | None
    values: dict[str, Any]
    image: pathlib.Path | Any | None
    places: tuple[Place, ...]
    group: str | None = None
