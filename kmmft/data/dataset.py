"""From records on disk to batches."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import tensorflow as tf

from kmmft.data.bad_record_report import bad_record_report
from kmmft.data.bad_records import BadRecords
from kmmft.data.caching import decoded_records, near_copies
from kmmft.data.cores import usable_cores
from kmmft.data.data_service import distribute, shared_job_name, shared_records
from kmmft.data.dataset_arguments import (
    check_arguments,
    check_choices,
    check_on_error,
)
from kmmft.data.epoch_steps import check_remainder, count_steps
from kmmft.data.epochs import Epochs
from kmmft.data.isolation import CHUNK_RECORDS, isolate_failures
from kmmft.data.parsing import parse_record
from kmmft.data.reading import RecordSource, open_source
from kmmft.data.record_reader import RecordReader
from kmmft.data.record_stream import own_part, record_chunks

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

Record = dict[str, tf.Tensor]
SAMPLE_MASK = "sample_mask"


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
    on_error: str = "skip",
    remainder: str | None = None,
    input_context: tf.distribute.InputContext | None = None,
    cache: str | os.PathLike | None = None,
    cache_decoded: bool = False,
    data_service: str | None = None,
) -> tf.data.Dataset:
    """Builds the batches of one split, for training or for evaluation.

    For training, the dataset is endless and its batches are full: an epoch has
    `steps_per_epoch` of them. Order and augmentation depend on `seed`, epoch and
    position only, so `start_step=k` gives exactly the batches that an uninterrupted
    run sees from step `k` on; what comes before is not read. For evaluation, every
    record comes once, in the order on disk, and the last batch may be smaller.

    A record that cannot be read, or on which `preprocess` or `augment` fails, is
    logged with its shard, number and byte offset. In training, a good record among
    the 16 around it takes its place, so that step `k` keeps its records; in
    evaluation it is left out. The split may have `max_bad_fraction` of its records
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
        shuffle_buffer: Serialised records to hold, in two halves: one is shuffled and
            given out while the other is read. They need as many times their size in
            memory.
        max_bad_fraction: Largest fraction of bad records in the split.
        bad_records: Where to log bad records.
        num_parallel_calls: Chunks of 16 records, and batches, processed at a time.
            Default: the number of cores, at most 16. Has no effect on the result.
        prefetch: Batches to hold ready.
        on_error: `"skip"` bad records as said above, or `"raise"` at the first one.
        remainder: What becomes of the records at the end of an epoch that fill no
            batch. `"drop"` leaves them out, in training others in each epoch.
            `"pad"` fills the last batch with records that are there already, and adds
            a bool feature `sample_mask` `(batch,)`, False for these and for what
            stands for a bad record: pass it as `sample_weight`, or count by it.
            `"repeat"` fills it likewise without a mask. `"keep"`, in evaluation only,
            leaves it as it is. Default: `"drop"` in training, else `"keep"`.
        input_context: Of `tf.distribute.Strategy.distribute_datasets_from_function`,
            or made by hand: this host's number among the hosts, and the number of all
            replicas. Then the dataset gives what this host's replicas get of each
            global batch, one replica after the other, and reads nothing else.
        cache: A directory, or `"memory"`, that keeps what was read: shards are copied
            there before they are read. With `cache_decoded`, it keeps what
            `preprocess` returned; all records go through it before the first batch.
        cache_decoded: Whether to cache decoded records, before augmentation. A
            directory must be of this split and this `preprocess` alone.
        data_service: Address of a `tf.data.service` dispatcher, `grpc://host:port`,
            whose workers do the reading and preprocessing. Batches come as they are
            ready: order and resumption are not exact, and a bad record is an error.
            With `input_context`, the hosts share the batches.

    Returns:
        `tf.data.Dataset` of batches.

    Raises:
        ValueError: If an argument is not valid, if the source or the split is not
            sound, or if the split is smaller than one training batch.
    """
    check_arguments(batch_size, seed, start_step, training, shuffle_buffer)
    check_on_error(on_error, max_bad_fraction)
    check_choices(on_error, remainder, cache, cache_decoded, data_service)
    remainder = check_remainder(remainder, training)
    opened = open_source(source, schema, on_error=on_error)
    records = opened.split(split, on_error=on_error)
    steps = count_steps(records, batch_size, remainder)
    parallel = num_parallel_calls or min(usable_cores(), 16)
    decode = _decode_function(opened, preprocess)
    augment = augment if training else None
    part, rows = own_part(batch_size, input_context)
    if data_service is not None:
        shared = shared_records(
            records,
            seed=seed,
            start_record=start_step * batch_size,
            training=training,
            shuffle_buffer=shuffle_buffer,
        )
        process = _record_function(decode, augment, seed)
        dataset = shared.map(process, num_parallel_calls=parallel, deterministic=True)
    else:
        files = near_copies(cache) if cache and not cache_decoded else None
        reader = stored = RecordReader(records, on_error=on_error, local_file=files)
        if cache_decoded:
            stored, decode = decoded_records(
                reader, decode, cache, num_parallel_calls=parallel
            )
        size = records.num_records if remainder == "keep" else steps * batch_size
        window = -(-shuffle_buffer // 2)
        order = {"seed": seed, "window_records": window} if training else {}
        start = start_step * part.rows
        # Chunks begin at multiples of their size, wherever the run starts.
        dataset = isolate_failures(
            record_chunks(
                stored,
                Epochs(records.shard_lengths, size, **order),
                part,
                start=start - start % CHUNK_RECORDS,
                endless=training,
            ),
            _record_function(
                decode,
                augment,
                seed,
                real=(records.num_records, size) if remainder == "pad" else None,
            ),
            bad_record_report(
                reader,
                on_error=on_error,
                bad_records=bad_records,
                max_bad_fraction=max_bad_fraction,
            ),
            substitute=training or remainder in ("pad", "repeat"),
            sample_mask=SAMPLE_MASK if remainder == "pad" else None,
            start_position=part.position(start),
            num_parallel_calls=parallel,
        )
    dataset = dataset.batch(rows, drop_remainder=remainder != "keep")
    if batch_preprocess is not None:
        dataset = dataset.map(
            batch_preprocess, num_parallel_calls=parallel, deterministic=True
        )
    if data_service is not None:
        # Several hosts share what the workers read, each batch for one replica.
        asked = (records.files, split, batch_size, seed, start_step, training)
        job = None
        if input_context is not None:
            job = shared_job_name(asked, input_context.input_pipeline_id)
        dataset = distribute(dataset, data_service, job)
    if training:
        dataset = dataset.apply(
            tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        )
    return dataset.prefetch(prefetch).with_options(training_options())


def _decode_function(
    source: RecordSource, preprocess: Callable[[Record], Record] | None
) -> Callable[[tf.Tensor], Record]:
    def decode(serialized: tf.Tensor) -> Record:
        record = parse_record(serialized, source.features)
        return record if preprocess is None else preprocess(record)

    return decode


def _record_function(
    decode: Callable[[tf.Tensor], Record],
    augment: Callable[[Record, tf.Tensor], Record] | None,
    seed: int,
    real: tuple[int, int] | None = None,
) -> Callable[[tf.Tensor, tf.Tensor], Record]:
    """What is done with a record; `real`: how many of an epoch's are no padding."""

    def process(position: tf.Tensor, serialized: tf.Tensor) -> Record:
        record = decode(serialized)
        if augment is not None:
            record_seed = tf.random.stateless_uniform(
                (2,), seed=(seed, position), minval=None, maxval=None, dtype=tf.int32
            )
            record = augment(record, record_seed)
        if real is not None:
            num_records, per_epoch = real
            record = {**record, SAMPLE_MASK: position % per_epoch < num_records}
        return record

    return process


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
