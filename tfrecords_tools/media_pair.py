"""A picture and a sound of one record, read together."""

import dataclasses
import pathlib
from typing import Any

from tfrecords_tools.audio_bytes import read_audio
from tfrecords_tools.image_bytes import check_image, read_image

NO_AUDIO = {"audio": b"", "sample_rate": 0, "num_samples": 0}


@dataclasses.dataclass(frozen=True)
class MediaPair:
    """What stands for the file of a `SourceRecord` that has an image and a sound.

    Attributes:
        image: Path of the image, or None where the record has none.
        audio: Path of the sound, likewise; not both are None.
    """

    image: pathlib.Path | None
    audio: pathlib.Path | None

    @property
    def path(self) -> pathlib.Path:
        """The first of the two files."""
        return self.image or self.audio

    def stat(self) -> "_Stat":
        """Of both files: their sizes added up, and the later of their times."""
        found = [file.stat() for file in (self.image, self.audio) if file]
        size = sum(one.st_size for one in found)
        return _Stat(size, max(one.st_mtime_ns for one in found))

    def __str__(self) -> str:
        return " and ".join(str(file) for file in (self.image, self.audio) if file)


@dataclasses.dataclass(frozen=True)
class _Stat:
    st_size: int
    st_mtime_ns: int


def read_pair(
    pair: MediaPair,
    max_seconds: float = 3600.0,
    decode: bool = True,
    to_wav: bool = False,
) -> dict[str, Any]:
    """Reads an image and a sound, and checks that they are whole.

    Args:
        pair: The files.
        max_seconds: As in `read_audio`.
        decode: Decode them whole; otherwise look at headers only.
        to_wav: As in `read_audio`.

    Returns:
        `image`, empty if there is none, and what `read_audio` returns, empty or 0 if
        there is no sound.

    Raises:
        ValueError: If one of them is not readable.
    """
    image = b""
    if pair.image is not None:
        image = read_image(pair.image, decode=False)
        if decode:
            check_image(image, str(pair.image))
    if pair.audio is None:
        return {"image": image, **NO_AUDIO}
    return {"image": image, **read_audio(pair.audio, max_seconds, decode, to_wav)}
