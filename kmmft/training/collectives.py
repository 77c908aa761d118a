"""What replicas tell each other; on one device each of these is the identity."""

import tensorflow as tf


def num_replicas() -> int:
    """Number of replicas that the surrounding code runs on; 1 without a strategy."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def replica_id() -> int | tf.Tensor:
    """Number of this replica, from 0. Call it in replica context."""
    if num_replicas() == 1:
        return 0
    return tf.distribute.get_replica_context().replica_id_in_sync_group


def all_reduce_sum(values: list) -> list:
    """Sums tensors over the replicas; `None` stays `None`.

    Call it in replica context.
    """
    if num_replicas() == 1:
        return list(values)
    given = [value for value in values if value is not None]
    # An empty list is an error to TensorFlow.
    reduced = iter(given and _context().all_reduce(tf.distribute.ReduceOp.SUM, given))
    return [None if value is None else next(reduced) for value in values]


def all_gather(value: tf.Tensor) -> tf.Tensor:
    """Puts the replicas' tensors one after the other, along the first axis.

    Differentiable: each replica's tensor receives the sum of what all replicas pass
    back to it. Rows may differ in number between replicas. Call it in replica
    context.
    """
    if num_replicas() == 1:
        return value
    return _context().all_gather(value, axis=0)


def _context():
    return tf.distribute.get_replica_context()
