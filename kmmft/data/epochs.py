"""The endless, shuffled stream of serialised records that training reads."""

import tensorflow as tf

from kmmft.data.reading import READ_BUFFER_BYTES, Split

_SHARDS_READ_AT_ONCE = 8


def shuffled_epochs(
    split: Split,
    records_per_epoch: int,
    *,
    seed: int,
    start_record: int,
    shuffle_buffer: int,
) -> tf.data.Dataset:
    """Repeats a split for ever, in an order that depends on seed and epoch only.

    The shards are shuffled and read in turns, and records again in a buffer. To start
    late, whole epochs are not read at all, and records of the first one are skipped
    while they are still serialised.

    Args:
        split: What to read.
        records_per_epoch: How many records an epoch takes; the rest is left out, other
            records in each epoch.
        seed: Any int.
        start_record: How many records have been seen before, in all epochs.
        shuffle_buffer: How many serialised records are held to draw from.

    Returns:
        `tf.data.Dataset` of scalar strings.
    """

    def epoch_records(epoch: tf.Tensor) -> tf.data.Dataset:
        # `shuffle` mixes the global seed into its own. This sets it for the graph of
        # this function only, so that the program's global seed has no effect.
        tf.random.set_seed(1)
        seeds = tf.random.stateless_uniform(
            (3,), seed=(seed, epoch), minval=None, maxval=None, dtype=tf.int64
        )
        files = tf.random.experimental.stateless_shuffle(list(split.files), seeds[:2])
        parallel = min(_SHARDS_READ_AT_ONCE, len(split.files))
        return (
            tf.data.Dataset.from_tensor_slices(files)
            .interleave(
                lambda file: tf.data.TFRecordDataset(
                    file, buffer_size=READ_BUFFER_BYTES
                ),
                cycle_length=parallel,
                num_parallel_calls=parallel,
                deterministic=True,
            )
            .shuffle(shuffle_buffer, seed=seeds[2], reshuffle_each_iteration=False)
            .take(records_per_epoch)
        )

    start_epoch, skipped = divmod(start_record, records_per_epoch)
    epochs = tf.data.Dataset.range(start_epoch, tf.int64.max)
    return epochs.flat_map(epoch_records).skip(skipped)
