"""From records on disk to batches."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import tensorflow as tf

from kmmft.data.bad_records import BadRecords
from kmmft.data.epochs import shuffled_epochs
from kmmft.data.isolation import CHUNK_RECORDS, isolate_failures
from kmmft.data.reading import (
    RecordSource,
    Split,
    open_source,
    parse_record,
    read_records,
)

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

Record = dict[str, tf.Tensor]


def build_dataset(
    source: str | os.PathLike | RecordSource,
    schema: tfds.features.FeaturesDict | None = None,
    *,
    split: str,
    preprocess: Callable[[Record], Record] | None = None,
    augment: Callable[[Record, tf.Tensor], Record] | None = None,
    batch_preprocess: Callable[[Record], object] | None = None,
    batch_size: int,
    training: bool,
    seed: int = 0,
    start_step: int = 0,
    shuffle_buffer: int = 10_000,
    max_bad_fraction: float = 1e-3,
    bad_records: BadRecords | None = None,
    num_parallel_calls: int | None = None,
    prefetch: int = 2,
) -> tf.data.Dataset:
    """Builds the batches of one split, for training or for evaluation.

    For training, the dataset is endless and full batches only come: an epoch has
    `steps_per_epoch` of them, and the records of the tail, others in each epoch, are
    left out. Order and augmentation depend on `seed`, epoch and position only, so
    `start_step=k` gives exactly the batches that an uninterrupted run sees from step
    `k` on. For evaluation, every record comes once, in the order on disk, and the
    last batch may be smaller.

    A record on which `preprocess` or `augment` fails is logged. In training, a good
    record among the 16 around it takes its place, so that step `k` keeps its records;
    in evaluation it is left out. The split may have `max_bad_fraction` of its records
    bad (but one at least, unless it is 0); then the dataset raises.

    Args:
        source: A TFDS directory, a glob of shards, or what `open_source` returned.
        schema: Features of the records; only bare shards need it.
        split: Name of the split.
        preprocess: `record -> record`, decodes and chooses features of one record.
            All features that it returns must have a fixed shape.
        augment: `(record, seed) -> record`, where `seed` is an int32 tensor `(2,)` for
            `tf.image.stateless_*`. In training only.
        batch_preprocess: `batch -> dict or (x, y[, w])`, such as tokenising.
        batch_size: Records in one batch, over all replicas together.
        training: Whether to shuffle, augment and repeat.
        seed: Any int. Changes order and augmentation.
        start_step: Batches to leave out at the start, for a resumed training run.
        shuffle_buffer: Serialised records to draw from: it needs as many times their
            size in memory.
        max_bad_fraction: Largest fraction of bad records in the split.
        bad_records: Where to log bad records.
        num_parallel_calls: Chunks of 16 records, and batches, processed at a time.
            Default: the number of cores, at most 16. Has no effect on the result.
        prefetch: Batches to hold ready.

    Returns:
        `tf.data.Dataset` of batches.

    Raises:
        ValueError: If an argument is not valid, if the source or the split is not
            sound, or if the split is smaller than one training batch.
    """
    _check_arguments(batch_size, seed, start_step, training, shuffle_buffer)
    _check_fraction(max_bad_fraction)
    opened = open_source(source, schema)
    records = opened.split(split)
    steps = _steps(records, batch_size, training)
    start = start_step * batch_size
    # Chunks begin at multiples of their size, wherever the run starts.
    chunk_start = start - start % CHUNK_RECORDS
    if training:
        serialized = shuffled_epochs(
            records,
            steps * batch_size,
            seed=seed,
            start_record=chunk_start,
            shuffle_buffer=shuffle_buffer,
        )
    else:
        serialized = read_records(opened, split)
    parallel = num_parallel_calls or min(_cores(), 16)
    dataset = isolate_failures(
        serialized.enumerate(chunk_start),
        _record_function(opened, preprocess, augment if training else None, seed),
        _report_function(opened, records, bad_records, max_bad_fraction),
        substitute=training,
        start_position=start,
        num_parallel_calls=parallel,
    )
    dataset = dataset.batch(batch_size, drop_remainder=training)
    if batch_preprocess is not None:
        dataset = dataset.map(
            batch_preprocess, num_parallel_calls=parallel, deterministic=True
        )
    if training:
        dataset = dataset.apply(
            tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        )
    return dataset.prefetch(prefetch).with_options(training_options())


def steps_per_epoch(
    source: str | os.PathLike | RecordSource,
    split: str,
    batch_size: int,
    schema: tfds.features.FeaturesDict | None = None,
) -> int:
    """The number of full batches in a split, which is one epoch of training.

    Args:
        source: As in `build_dataset`.
        split: Name of the split.
        batch_size: Records in one batch.
        schema: As in `build_dataset`.

    Returns:
        The number of steps.

    Raises:
        ValueError: If the split is smaller than one batch.
    """
    _check_positive("batch_size", batch_size)
    return _steps(open_source(source, schema).split(split), batch_size, training=True)


def _record_function(
    source: RecordSource,
    preprocess: Callable | None,
    augment: Callable | None,
    seed: int,
) -> Callable[[tf.Tensor, tf.Tensor], Record]:
    def process(position: tf.Tensor, serialized: tf.Tensor) -> Record:
        record = parse_record(serialized, source.features)
        if preprocess is not None:
            record = preprocess(record)
        if augment is not None:
            record_seed = tf.random.stateless_uniform(
                (2,), seed=(seed, position), minval=None, maxval=None, dtype=tf.int32
            )
            record = augment(record, record_seed)
        return record

    return process


def _report_function(
    source: RecordSource,
    split: Split,
    bad_records: BadRecords | None,
    max_bad_fraction: float,
) -> Callable[[bytes, str], None]:
    log = BadRecords() if bad_records is None else bad_records
    limit = int(max_bad_fraction * split.num_records)
    if max_bad_fraction > 0:
        limit = max(limit, 1)

    def report(serialized: bytes, reason: str) -> None:
        features = tf.train.Example.FromString(serialized).features.feature
        ids = features["id"].bytes_list.value if "id" in features else ()
        # A record without id is told from others by its contents.
        digest = hashlib.sha256(serialized).hexdigest()[:16]
        name = ids[0].decode(errors="replace") if ids else f"sha256:{digest}"
        log.add(split.name, name, reason, limit)

    return report


def _cores() -> int:
    # Not every system can tell how many of its cores this process may use.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def training_options() -> tf.data.Options:
    """How `tf.data` runs a stream that a training reads."""
    options = tf.data.Options()
    options.deterministic = True
    # Stopping an iterator can wait seconds for the autotuner.
    options.autotune.enabled = False
    # Several workers read the same files, and take their part of each batch.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return options


def _steps(split: Split, batch_size: int, training: bool) -> int:
    steps = split.num_records // batch_size
    if split.num_records == 0 or (training and steps == 0):
        raise ValueError(
            "A split must have a record, and for training as many as one batch. "
            f"Received: split {split.name!r} with {split.num_records} records, "
            f"batch_size={batch_size}. Lower `batch_size` or choose another split."
        )
    return steps


def _check_arguments(
    batch_size: int, seed: int, start_step: int, training: bool, shuffle_buffer: int
) -> None:
    _check_positive("batch_size", batch_size)
    _check_positive("shuffle_buffer", shuffle_buffer)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ValueError(
            "`seed` must be an int, or runs could not be repeated. "
            f"Received: seed={seed!r}. Pass an int."
        )
    if start_step < 0 or (start_step and not training):
        raise ValueError(
            "`start_step` must not be negative, and must be 0 in evaluation. "
            f"Received: start_step={start_step}, training={training}. Pass the "
            "number of training steps that were done."
        )


def _check_fraction(max_bad_fraction: float) -> None:
    if not 0 <= max_bad_fraction <= 1:
        raise ValueError(
            "`max_bad_fraction` must be between 0 and 1. "
            f"Received: max_bad_fraction={max_bad_fraction}. Pass 0 to allow none."
        )


def _check_positive(name: str, value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(
            f"`{name}` must be a positive int. Received: {name}={value!r}. Pass at "
            "least 1."
        )
