"""The global batch as one replica sees it: its own rows and everybody's."""

import tensorflow as tf

from kmmft.losses import Embeddings
from kmmft.training.collectives import all_gather, replica_id


def own_numbers(rows: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Numbers of this replica's examples in the global batch.

    Args:
        rows: How many examples this replica has; may differ between replicas.

    Returns:
        int64 tensor `(rows,)`, and the size of the global batch, an int32 scalar.
    """
    counts = all_gather(tf.reshape(tf.cast(rows, tf.int32), [1]))
    # A mask and no slice, whose length XLA would have to know.
    is_before = tf.range(tf.size(counts)) < replica_id()
    offset = tf.reduce_sum(tf.where(is_before, counts, 0))
    return tf.cast(offset + tf.range(rows), tf.int64), tf.reduce_sum(counts)


def gather_embeddings(
    own: dict[str, Embeddings], negatives: dict[str, tf.Tensor]
) -> dict[str, Embeddings]:
    """What this replica's queries are compared with: the rows of all replicas.

    Differentiable: a replica's vectors receive the gradients of all replicas' losses.

    Args:
        own: This replica's rows, by modality.
        negatives: Vectors `(rows, dim)` of explicit hard negatives, by modality.

    Returns:
        By modality, the rows of all replicas and then their hard negatives.
    """
    group = all_gather(next(iter(own.values())).group)
    # Gathered rows come in the order of `own_numbers`.
    index = tf.range(tf.size(group, tf.int64))
    everyone = {}
    for modality, mine in own.items():
        vectors = all_gather(mine.vectors)
        teacher = None if mine.teacher is None else all_gather(mine.teacher)
        everyone[modality] = Embeddings(vectors, group, index, teacher)
        if modality in negatives:
            hard = all_gather(negatives[modality])
            count = tf.shape(hard)[0]
            nobody = tf.fill([count], tf.constant(-1, tf.int64))
            if teacher is not None:
                # Distillation leaves hard negatives out; the rows must be there.
                teacher = tf.pad(teacher, [[0, count], [0, 0]])
            everyone[modality] = Embeddings(
                tf.concat([vectors, hard], axis=0),
                tf.concat([group, nobody], axis=0),
                tf.concat([index, nobody], axis=0),
                teacher,
            )
    return everyone
