"""Reads any records of one TFRecord file by their number, and survives its damage."""

import dataclasses
import itertools
import logging
import os
import struct
import threading
from array import array
from typing import BinaryIO

import numpy as np
import tensorflow as tf

from kmmft.data.framing import FRAME_BYTES, HEAD_BYTES, masked_crc, read_frames
from kmmft.data.tfrecord_files import check_uncompressed

# Two records that lie nearer to each other are read in one go.
_GAP_BYTES = 1 << 18
# Heads are found in stretches of so many bytes if many lie in one, or if the file is
# far and a question costs more than bytes; else alone: the rest stays on the disk.
_WALK_BYTES = 1 << 18
_FEW_HEADS = 32

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Lost:
    """A record that cannot be read: where it begins, and what is wrong."""

    offset: int
    problem: str


class Shard:
    """The records of one file.

    Where records begin is found by walking over their heads, as far as it is needed
    and once. If a head is broken, the file is searched for the records behind it.
    Record `k` stays record `k`, whatever happened to those before it, as long as the
    damage neither hides nor invents a record. May be used from several threads.

    Args:
        path: The file.
        num_records: How many records it is declared to hold; they have the numbers
            from 0 to `num_records - 1`, whether they can be read or not.

    Raises:
        ValueError: If the file is compressed.
    """

    def __init__(self, path: str | os.PathLike, num_records: int):
        self.path = os.fspath(path)
        self.num_records = num_records
        self._size = tf.io.gfile.stat(self.path).length
        # Where each record begins, and the next one does: one more than is known.
        self._offsets = array("q", [0])
        # Set once a broken head was met: the stretches that are left.
        self._found: list[tuple[int, int, str | None]] | None = None
        self._lock = threading.Lock()

    def read(self, numbers: np.ndarray) -> list[bytes | Lost]:
        """Reads records.

        Args:
            numbers: int array, their numbers, from the smallest to the largest.

        Returns:
            The payload of each, or a `Lost`.
        """
        with self._lock:
            self._locate(int(numbers[-1]))
            places = [self._place(int(number)) for number in numbers]
        records: list[bytes | Lost] = []
        with tf.io.gfile.GFile(self.path, "rb") as file:
            for first, last in _stretches(places):
                start, end = places[first][0], places[last - 1][1]
                file.seek(start)
                data = file.read(end - start) if end > start else b""
                records += [_record(data, start, place) for place in places[first:last]]
        return records

    def offset(self, number: int) -> int:
        """Where a record begins, in bytes."""
        with self._lock:
            self._locate(number)
            return self._place(number)[0]

    def _place(self, number: int) -> tuple[int, int, str | None]:
        """Start, end and, if it is known to be lost, the problem of a record."""
        if self._found is not None:
            return self._found[number]
        return self._offsets[number], self._offsets[number + 1], None

    def _locate(self, number: int) -> None:
        """Makes sure that it is known where this record begins and ends."""
        if self._found is None and len(self._offsets) <= number + 1:
            is_far = "://" in self.path
            with (
                tf.io.gfile.GFile(self.path, "rb")
                if is_far
                else open(self.path, "rb", buffering=0)
            ) as file:
                is_sound = self._walk(file, is_far, number + 1)
            if not is_sound:
                self._search()

    def _walk(self, file: BinaryIO, is_far: bool, last: int) -> bool:
        """Goes from head to head; False if there is none where one should be."""
        data, start, position, length = b"", 0, self._offsets[-1], 0
        unpack = struct.Struct("<QI").unpack_from
        while len(self._offsets) <= last:
            if position + HEAD_BYTES > start + len(data) or not data:
                file.seek(position)
                is_dense = length < _WALK_BYTES // _FEW_HEADS
                size = _WALK_BYTES if is_far or is_dense else HEAD_BYTES
                data, start = file.read(size), position
                if len(data) < HEAD_BYTES:
                    return False
            place = position - start
            length, checksum = unpack(data, place)
            end = position + FRAME_BYTES + length
            if end > self._size or masked_crc(data[place : place + 8]) != checksum:
                return False
            position = end
            self._offsets.append(position)
        return True

    def _search(self) -> None:
        """Finds the records of a file in which a head is broken."""
        check_uncompressed(self.path)
        broken_from = self._offsets[-1]
        found = [
            (
                frame.offset,
                frame.offset + frame.num_bytes,
                frame.problem if frame.payload is None else None,
            )
            for frame in read_frames(self.path)
        ]
        surplus = len(found) - self.num_records
        if surplus > 0:
            # Bytes that got between two records are none.
            no_records = [
                place for place in found if place[2] and place[0] >= broken_from
            ][:surplus]
            _logger.warning(
                "Shard %s has bytes that are no record: %s",
                self.path,
                [f"{start} to {end}" for start, end, _ in no_records],
            )
            found = [place for place in found if place not in no_records]
        missing = (self._size, self._size, "The file ends before this record.")
        found += [missing] * (self.num_records - len(found))
        self._found = found


def _stretches(places: list[tuple[int, int, str | None]]) -> list[tuple[int, int]]:
    """Ranges of places that are read in one go."""
    starts = np.array([place[0] for place in places])
    ends = np.array([place[1] for place in places])
    cuts = np.flatnonzero(starts[1:] - ends[:-1] > _GAP_BYTES) + 1
    bounds = [0, *cuts.tolist(), len(places)]
    return list(itertools.pairwise(bounds))


def _record(data: bytes, start: int, place: tuple[int, int, str | None]):
    begin, end, problem = place
    if problem is None:
        payload = data[begin - start + HEAD_BYTES : end - start - 4]
        checksum = data[end - start - 4 : end - start]
        if masked_crc(payload) == int.from_bytes(checksum, "little"):
            return payload
        problem = "The record does not fit its checksum."
    return Lost(begin, problem)
