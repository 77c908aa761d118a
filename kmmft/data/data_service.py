"""Training data that `tf.data.service` workers read and preprocess.

Its workers run the graph without this program, and at their own pace. So records are
read by TensorFlow alone, and their order is that in which the workers are ready.
"""

import tensorflow as tf

from kmmft.data.reading import READ_BUFFER_BYTES, Split

_SHARDS_READ_AT_ONCE = 8


def shared_records(
    split: Split,
    *,
    seed: int,
    start_record: int,
    training: bool,
    shuffle_buffer: int,
) -> tf.data.Dataset:
    """Reads a split so that the workers can share its shards.

    Args:
        split: What to read.
        seed: Any int; for the order of the shards in each epoch.
        start_record: How many records were seen before. It is rounded to whole shards.
        training: Whether to read for ever and in another order each time, or once.
        shuffle_buffer: Records that a worker draws from.

    Returns:
        `tf.data.Dataset` of pairs of a position and a serialised record.
    """
    count = len(split.files)
    epoch, rest = divmod(start_record, split.num_records)
    first = epoch * count + rest * count // split.num_records

    def file_of(visit: tf.Tensor) -> tf.Tensor:
        if not training:
            return tf.constant(split.files)[visit]
        seeds = tf.stack([tf.constant(seed, tf.int64), visit // count])
        files = tf.random.experimental.stateless_shuffle(list(split.files), seeds)
        return files[visit % count]

    # Each number goes to one worker: this is what they share.
    visits = tf.data.Dataset.range(first, tf.int64.max if training else count)
    parallel = min(_SHARDS_READ_AT_ONCE, count)
    records = visits.map(file_of).interleave(
        lambda file: tf.data.TFRecordDataset(file, buffer_size=READ_BUFFER_BYTES),
        cycle_length=parallel,
        num_parallel_calls=parallel,
        deterministic=True,
    )
    if training:
        records = records.shuffle(shuffle_buffer, seed=seed)
    return records.enumerate(start_record)


def distribute(
    dataset: tf.data.Dataset, address: str, job_name: str | None = None
) -> tf.data.Dataset:
    """Lets the workers of a service compute a dataset.

    Args:
        dataset: Its source is shared by the workers.
        address: Of the dispatcher, `grpc://host:port`.
        job_name: Hosts that ask for the same dataset by the same name share what the
            workers compute: each element goes to one of them.

    Returns:
        `tf.data.Dataset` of what all workers compute together.
    """
    return dataset.apply(
        tf.data.experimental.service.distribute(
            processing_mode=tf.data.experimental.service.ShardingPolicy.DYNAMIC,
            service=address,
            job_name=job_name,
        )
    )
