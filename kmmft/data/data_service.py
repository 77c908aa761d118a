"""Training data that `tf.data.service` workers read and preprocess.

Its workers run the graph without this program, and at their own pace. So records are
read by TensorFlow alone, and their order is that in which the workers are ready.
"""

import collections
import hashlib
import json
import os
from collections.abc import Sequence

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


# How often each job was asked for in this process, by whom.
_USES: collections.Counter = collections.Counter()


def shared_job_name(asked: Sequence, host: int) -> str:
    """A name on which the hosts of a run agree, and which no other use of them has.

    TensorFlow gives nothing to who asks for a job that has ended, and a part of it to
    who asks for one that is running. So the name is of what is asked for, of the hosts
    of the run (`TF_CONFIG`), and of how often they have asked for it: all hosts of a
    run ask for the same jobs in the same order.

    Args:
        asked: Whatever decides the dataset; `repr` tells it from others.
        host: Who asks.

    Returns:
        The name.

    Example:
        >>> name = kmmft.data.data_service.shared_job_name
        >>> first, same, second = name(["a"], 0), name(["a"], 1), name(["a"], 0)
        >>> first == same, first == second
        (True, False)
    """
    cluster = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster")
    told = repr((list(asked), cluster)).encode()
    digest = hashlib.sha256(told).hexdigest()[:16]
    _USES[digest, host] += 1
    return f"kmmft-{digest}-{_USES[digest, host]}"
