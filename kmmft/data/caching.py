"""Keeps shards, or decoded records, nearer than they are."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterator

import tensorflow as tf

from kmmft.data.epochs import Epochs
from kmmft.data.isolation import CHUNK_RECORDS, check_record, isolate_failures
from kmmft.data.reading import Split
from kmmft.data.record_reader import LOST_RECORD, RecordReader
from kmmft.data.record_stream import BatchPart, record_chunks

MEMORY = "memory"
_NUMBER, _VALUES = "number", "values"

_logger = logging.getLogger(__name__)

Record = dict[str, tf.Tensor]


def near_copies(cache: str | os.PathLike) -> Callable[[str], str]:
    """Copies each shard before it is read for the first time.

    Args:
        cache: A directory, or `"memory"`. A shard that has changed is copied again.

    Returns:
        Function from the path of a shard to that of its copy.
    """
    folder = "ram://kmmft_cache" if cache == MEMORY else os.fspath(cache)
    tf.io.gfile.makedirs(folder)
    lock = threading.Lock()

    def local_file(path: str) -> str:
        found = tf.io.gfile.stat(path)
        version = f"{path} {found.length} {found.mtime_nsec}"
        digest = hashlib.sha256(version.encode()).hexdigest()[:16]
        copy = f"{folder}/{digest}-{os.path.basename(path)}"
        with lock:
            if not tf.io.gfile.exists(copy):
                temporary = f"{copy}.{uuid.uuid4().hex}"
                tf.io.gfile.copy(path, temporary)
                tf.io.gfile.rename(temporary, copy, overwrite=True)
        return copy

    return local_file


def decoded_records(
    reader: RecordReader,
    decode: Callable[[tf.Tensor], Record],
    cache: str | os.PathLike,
    *,
    num_parallel_calls: int,
) -> tuple[RecordReader, Callable[[tf.Tensor], Record]]:
    """Decodes all records of a split once, and keeps what came out.

    A shard of decoded records is written for each shard, of as many records. The place
    of one that failed holds its reason, and it is a bad record to who reads it. A
    directory that was begun is gone on with.

    Args:
        reader: Of the split.
        decode: `serialised record -> record` of fixed shapes.
        cache: A directory of this split and this `decode` alone, or `"memory"`.
        num_parallel_calls: Chunks that are processed at a time.

    Returns:
        A reader of the decoded records, with the same numbers, and the function that
        makes a serialised one of them a record again.

    Raises:
        ValueError: If the directory holds records of something else.
    """
    in_memory = cache == MEMORY
    folder = f"ram://kmmft_cache/{uuid.uuid4().hex}" if in_memory else os.fspath(cache)
    traced = tf.function(decode, input_signature=[tf.TensorSpec((), tf.string)])
    outputs = traced.get_concrete_function().structured_outputs
    check_record(outputs)
    spec = tf.nest.map_structure(tf.type_spec_from_value, outputs)
    tf.io.gfile.makedirs(folder)
    _check_contents(folder, reader.split, spec)
    split = reader.split
    files = [f"{folder}/decoded-{i:05d}" for i in range(len(split.files))]
    missing = [i for i, file in enumerate(files) if not tf.io.gfile.exists(file)]
    if missing:
        _write_decoded(reader, traced, files, missing[0], num_parallel_calls)
    decoded = Split(split.name, tuple(files), split.shard_lengths)
    return RecordReader(decoded, on_error="skip"), lambda one: _restore(one, spec)


def _restore(serialized: tf.Tensor, spec: Record) -> Record:
    flat = tf.nest.flatten(spec)
    key = tf.io.FixedLenFeature((len(flat),), tf.string)
    values = tf.io.parse_single_example(serialized, {_VALUES: key})[_VALUES]
    parts = [
        tf.ensure_shape(tf.io.parse_tensor(values[i], part.dtype), part.shape)
        for i, part in enumerate(flat)
    ]
    return tf.nest.pack_sequence_as(spec, parts)


def _write_decoded(
    reader: RecordReader,
    decode: Callable,
    files: list[str],
    first_shard: int,
    num_parallel_calls: int,
) -> None:
    lengths = reader.split.shard_lengths
    total, start = sum(lengths), sum(lengths[:first_shard])
    reasons: dict[int, bytes] = {}

    def report(number: int, serialized: bytes, reason: str) -> None:
        lost = serialized.startswith(LOST_RECORD)
        reasons[number] = serialized if lost else LOST_RECORD + reason.encode()

    def serialize(position: tf.Tensor, serialized: tf.Tensor) -> Record:
        record = decode(serialized)
        values = [tf.io.serialize_tensor(part) for part in tf.nest.flatten(record)]
        return {_NUMBER: position, _VALUES: tf.stack(values)}

    chunks = record_chunks(
        reader,
        Epochs(lengths, total),
        BatchPart(1, 0, 1),
        start=start,
        endless=False,
    )
    decoded = isolate_failures(
        chunks,
        serialize,
        report,
        substitute=False,
        num_parallel_calls=num_parallel_calls,
    )
    everything = _all_records(decoded, reasons, start, total)
    _logger.info("Decoding %d records of split %r", total - start, reader.split.name)
    for index in range(first_shard, len(files)):
        # A new name, since `ram://` adds to a file that is there.
        temporary = f"{files[index]}.{uuid.uuid4().hex}"
        with tf.io.TFRecordWriter(temporary) as writer:
            for record in itertools.islice(everything, lengths[index]):
                writer.write(record)
        tf.io.gfile.rename(temporary, files[index], overwrite=True)
        _logger.info("Decoded %d of %d records", sum(lengths[: index + 1]), total)


def _all_records(
    decoded: tf.data.Dataset, reasons: dict[int, bytes], start: int, total: int
) -> Iterator[bytes]:
    """What is kept of each record, in order: its features, or why they are lost."""
    ahead = decoded.prefetch(1).as_numpy_iterator()
    one = next(ahead, None)
    for first in range(start, total, CHUNK_RECORDS):
        numbers = range(first, min(first + CHUNK_RECORDS, total))
        good = {}
        while one is not None and one[_NUMBER] in numbers:
            good[int(one[_NUMBER])] = _example(one[_VALUES])
            one = next(ahead, None)
        # The next chunk has begun: the failures of this one are known.
        yield from (good.get(number) or reasons[number] for number in numbers)


def _example(values: list[bytes]) -> bytes:
    kept = tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    features = tf.train.Features(feature={_VALUES: kept})
    return tf.train.Example(features=features).SerializeToString()


def _check_contents(folder: str, split: Split, spec: Record) -> None:
    """Compares what a directory was made for with what it shall hold, or notes it."""
    sizes = [tf.io.gfile.stat(file).length for file in split.files]
    wanted = {
        "shards": [list(pair) for pair in zip(split.files, sizes, strict=True)],
        "records": list(split.shard_lengths),
        "features": str(spec),
    }
    note = f"{folder}/decoded.json"
    if not tf.io.gfile.exists(note):
        with tf.io.gfile.GFile(f"{note}.{uuid.uuid4().hex}", "w") as file:
            file.write(json.dumps(wanted, indent=2))
        tf.io.gfile.rename(file.name, note, overwrite=True)
        return
    with tf.io.gfile.GFile(note, "r") as file:
        held = json.loads(file.read())
    other = [name for name in wanted if held.get(name) != wanted[name]]
    if other:
        raise ValueError(
            "A cache holds the decoded records of one split and one `preprocess`. "
            f"Received: cache={folder!r}, which holds other {' and '.join(other)}. "
            "Name another directory, or remove this one."
        )
