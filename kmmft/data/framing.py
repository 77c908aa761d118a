"""Reads the records of a TFRecord file, and goes on behind what is broken.

A record is framed as length (8 bytes), checksum of the length (4), payload, checksum
of the payload (4); a checksum is the masked CRC-32C of TensorFlow's
`core/lib/io/record_writer.h`.
"""

import dataclasses
import functools
import os
import struct
from collections.abc import Iterator

import numpy as np

HEAD_BYTES, FRAME_BYTES = 12, 16
_SCAN_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Frame:
    """A stretch of a file: a record, or bytes that are none.

    Attributes:
        offset: Where it begins, in bytes.
        num_bytes: How long it is, with its framing.
        payload: What the record holds; None if it is lost.
        problem: What is wrong with it, one sentence; None if nothing is.
    """

    offset: int
    num_bytes: int
    payload: bytes | None
    problem: str | None = None


def masked_crc(data: bytes) -> int:
    """The checksum that stands behind these bytes.

    Example:
        >>> hex(kmmft.data.framing.masked_crc(b"123456789"))
        '0xc78ab0e5'
    """
    import google_crc32c

    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_frames(path: str | os.PathLike) -> Iterator[Frame]:
    """Reads a file from its first byte to its last: every byte is in one frame.

    Behind a broken frame the next place is searched where a length fits its checksum.
    A record whose framing alone is broken is found between two such places: its
    payload fits its checksum, and is not lost.

    Args:
        path: The file. One that is not on a local disk (`gs://...`) is read whole.

    Yields:
        `Frame`, in the order of the file.

    Example:
        >>> with tf.io.TFRecordWriter("broken.tfrecord") as writer:
        ...     for payload in (b"one", b"two", b"three"):
        ...         writer.write(payload)
        >>> with open("broken.tfrecord", "r+b") as file:
        ...     _ = file.seek(19 + 12)
        ...     _ = file.write(b"T")
        >>> frames = kmmft.data.framing.read_frames("broken.tfrecord")
        >>> [frame.payload for frame in frames]
        [b'one', None, b'three']
    """
    data = _open(os.fspath(path))
    position = 0
    while position < len(data):
        frame = _sound_frame(data, position) or _broken_frame(data, position)
        yield frame
        position += frame.num_bytes


def frame(payload: bytes) -> bytes:
    """A record as it stands in a file.

    Example:
        >>> len(kmmft.data.framing.frame(b"one"))
        19
    """
    length = struct.pack("<Q", len(payload))
    checksums = (struct.pack("<I", masked_crc(part)) for part in (length, payload))
    return length + next(checksums) + payload + next(checksums)


def _open(path: str) -> np.ndarray:
    if "://" in path:
        # Here, since the tools do not wait for TensorFlow to read a local file.
        import tensorflow as tf

        with tf.io.gfile.GFile(path, "rb") as file:
            return np.frombuffer(file.read(), np.uint8)
    if not os.path.getsize(path):
        return np.empty(0, np.uint8)
    return np.memmap(path, np.uint8, mode="r")


def _sound_frame(data: np.ndarray, start: int) -> Frame | None:
    """The frame that begins here, if both of its checksums fit."""
    length = _length(data, start)
    if length is None:
        return None
    end = start + FRAME_BYTES + length
    payload = _payload(data, start, end)
    return None if payload is None else Frame(start, end - start, payload)


def _broken_frame(data: np.ndarray, start: int) -> Frame:
    """What stands here up to the next place at which a record begins."""
    length = _length(data, start)
    if length is not None:
        end = start + FRAME_BYTES + length
        if end == len(data) or (end < len(data) and _length(data, end) is not None):
            problem = "The record does not fit its checksum."
            return Frame(start, end - start, None, problem)
    end = _next_head(data, start + 1)
    payload = _payload(data, start, end)
    if payload is not None:
        problem = "The length of the record is broken; the record itself is whole."
    elif length is None:
        problem = "The length of the record does not fit its checksum."
    elif end < len(data):
        problem = f"Bytes are missing or too many in a record of {length:,} bytes."
    else:
        present = max(end - start - HEAD_BYTES, 0)
        problem = f"The file ends after {present:,} bytes of a record of {length:,}."
    return Frame(start, end - start, payload, problem)


def _length(data: np.ndarray, start: int) -> int | None:
    """The length of the record that begins here, if it fits its checksum."""
    head = data[start : start + HEAD_BYTES].tobytes()
    if len(head) < HEAD_BYTES:
        return None
    length, checksum = struct.unpack("<QI", head)
    return length if masked_crc(head[:8]) == checksum else None


def _payload(data: np.ndarray, start: int, end: int) -> bytes | None:
    """What a frame from `start` to `end` holds, if it fits its checksum."""
    if end - start < FRAME_BYTES or end > len(data):
        return None
    payload = data[start + HEAD_BYTES : end - 4].tobytes()
    checksum = int.from_bytes(data[end - 4 : end].tobytes(), "little")
    return payload if masked_crc(payload) == checksum else None


def _next_head(data: np.ndarray, start: int) -> int:
    """The next place where a length fits its checksum, or the end of the file."""
    for first in range(start, len(data), _SCAN_BYTES):
        window = np.asarray(data[first : first + _SCAN_BYTES + HEAD_BYTES - 1])
        count = len(window) - HEAD_BYTES + 1
        if count < 1:
            break
        # No record has 4 GiB, so the upper half of its length is zero.
        zero = window == 0
        places = np.flatnonzero(
            zero[4 : count + 4]
            & zero[5 : count + 5]
            & zero[6 : count + 6]
            & zero[7 : count + 7]
        )
        heads = window[places[:, np.newaxis] + np.arange(HEAD_BYTES)]
        fits = _masked_crcs(heads[:, :8]) == heads[:, 8:].copy().view("<u4")[:, 0]
        if fits.any():
            return first + int(places[fits.argmax()])
    return len(data)


def _masked_crcs(lengths: np.ndarray) -> np.ndarray:
    """Checksums of many eight bytes at once."""
    zeros, tables = _crc_tables()
    crcs = np.full(len(lengths), zeros, np.uint32)
    for column, table in zip(lengths.T, tables, strict=True):
        crcs ^= table[column]
    return (crcs >> 15 | crcs << 17) + np.uint32(0xA282EAD8)


@functools.cache
def _crc_tables() -> tuple[int, np.ndarray]:
    """The CRC of eight zeros, and what each value of each byte changes in it.

    A CRC is linear: what two bytes change is the exclusive or of what each changes.
    """
    import google_crc32c

    zeros = google_crc32c.value(bytes(8))
    tables = np.zeros((8, 256), np.uint32)
    for place in range(8):
        for value in range(256):
            one = bytearray(8)
            one[place] = value
            tables[place, value] = google_crc32c.value(bytes(one)) ^ zeros
    return zeros, tables
