"""Finding out what is wrong with a TFRecord file, by its framing and checksums.

A record is framed as length (8 bytes), checksum of the length (4), payload, checksum
of the payload (4).
"""

import struct
from collections.abc import Iterable

import tensorflow as tf

from kmmft.data.framing import FRAME_BYTES, HEAD_BYTES, read_frames

_GZIP = b"\x1f\x8b\x08"


def count_records(path: str, *, on_error: str = "raise") -> int:
    """Counts the records of one file by its framing, without reading the payloads.

    Args:
        path: The file.
        on_error: `"skip"`, a damaged file is searched for its records, which count
            whether they can be read or not.

    Returns:
        The number of records.

    Raises:
        ValueError: If the file ends inside a record, or is compressed.

    Example:
        >>> with tf.io.TFRecordWriter("two.tfrecord") as writer:
        ...     writer.write(b"one")
        ...     writer.write(b"two")
        >>> kmmft.data.tfrecord_files.count_records("two.tfrecord")
        2
    """
    size, position, records = tf.io.gfile.stat(path).length, 0, 0
    with tf.io.gfile.GFile(path, "rb") as file:
        while position < size:
            file.seek(position)
            head = file.read(HEAD_BYTES)
            end = size + 1
            if len(head) == HEAD_BYTES:
                end = position + FRAME_BYTES + struct.unpack("<Q", head[:8])[0]
            if end > size:
                check_uncompressed(path)
                if on_error == "skip":
                    return sum(1 for _ in read_frames(path))
                raise ValueError(
                    f"Shard {path} is truncated after record {records} (byte "
                    f"{position} of {size}). Copy or build it again."
                )
            position, records = end, records + 1
    return records


def check_uncompressed(path: str) -> None:
    """Raises a ValueError if a file is compressed by gzip.

    Args:
        path: The file.
    """
    with tf.io.gfile.GFile(path, "rb") as file:
        if file.read(len(_GZIP)) == _GZIP:
            raise ValueError(
                "A shard must not be compressed, since records are read from any "
                f"place of it. Received: {path}, compressed by gzip. Unpack it with "
                "gunzip."
            )


def find_corrupt_record(files: Iterable[str]) -> tuple[str, int] | None:
    """Finds the first record whose checksum does not fit, reading all files.

    Args:
        files: TFRecord files, read in this order.

    Returns:
        The file and the number of the record in it (from 0), or `None` if all
        records are sound.

    Example:
        >>> with tf.io.TFRecordWriter("sound.tfrecord") as writer:
        ...     writer.write(b"one")
        >>> kmmft.data.find_corrupt_record(["sound.tfrecord"])
    """
    for path in files:
        records = 0
        try:
            for _ in tf.data.TFRecordDataset(path, buffer_size=1 << 20):
                records += 1
        except tf.errors.DataLossError:
            return path, records
    return None
