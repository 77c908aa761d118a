"""Gradients of several tasks that pull in opposite directions."""

from collections.abc import Sequence

import tensorflow as tf


def project_conflicts(
    gradients: Sequence[Sequence[tf.Tensor]], seed: tf.Tensor
) -> list[tf.Tensor]:
    """Adds up tasks' gradients without what they take away from each other (PCGrad).

    Where two tasks' gradients have a negative inner product, each loses its part along
    the other, one other task after the other in random order. Gradients that agree
    are added as they are.

    All projections are sums of the given gradients, so only inner products are
    computed, once for each pair, and one sum in the end. Under replicas pass gradients
    that are summed over them, and the same seed on all.

    Args:
        gradients: By task, a list of dense tensors, those of the shared weights in
            the same order for each task; zeros where a task does not use a weight.
        seed: Integer tensor `(2,)`; decides the order of the projections.

    Returns:
        The sum over the tasks, a list of tensors like each of `gradients`.

    Raises:
        ValueError: If the tasks have gradients of different weights.

    Example:
        >>> first, second = tf.constant([1.0, 0.0]), tf.constant([-1.0, 1.0])
        >>> project_conflicts([[first], [second]], seed=[0, 0])[0].numpy()
        array([0.5, 1.5], dtype=float32)

    References:
        - [Yu et al., 2020](https://arxiv.org/abs/2001.06782), algorithm 1.
    """
    if len({len(own) for own in gradients}) != 1:
        raise ValueError(
            "All tasks must have gradients of the same weights. Received: lists of "
            f"{[len(own) for own in gradients]} tensors."
        )
    products = _inner_products(gradients)
    # Column `k` of a task's row is how much of task k's gradient is in its own.
    shares = _project(products, _orders(len(gradients), seed))
    factors = tf.unstack(tf.reduce_sum(shares, axis=0))
    return [
        tf.add_n([tf.cast(f, g.dtype) * g for f, g in zip(factors, own, strict=True)])
        for own in zip(*gradients, strict=True)
    ]


def _inner_products(gradients: Sequence[Sequence[tf.Tensor]]) -> tf.Tensor:
    """float32 tensor `(tasks, tasks)`."""
    tasks = len(gradients)
    rows = [[None] * tasks for _ in range(tasks)]
    for one in range(tasks):
        for other in range(one + 1):
            pairs = zip(gradients[one], gradients[other], strict=True)
            products = [tf.reduce_sum(tf.cast(a * b, tf.float32)) for a, b in pairs]
            rows[one][other] = rows[other][one] = tf.add_n(products)
    return tf.stack([tf.stack(row) for row in rows])


def _orders(tasks: int, seed: tf.Tensor) -> tf.Tensor:
    """int tensor `(tasks, tasks)`: in which order each task meets all tasks."""
    numbers = tf.random.stateless_uniform([tasks, tasks], seed)
    return tf.argsort(numbers, axis=1)


def _project(products: tf.Tensor, orders: tf.Tensor) -> tf.Tensor:
    tasks = products.shape[0]
    shares = tf.eye(tasks)
    squares = tf.linalg.diag_part(products)
    for place in range(tasks):
        others = orders[:, place]
        # Of each task's gradient, as it is by now, with its next other's.
        product = tf.reduce_sum(shares * tf.gather(products, others), axis=1)
        conflict = (product < 0) & (others != tf.range(tasks))
        along = tf.math.divide_no_nan(product, tf.gather(squares, others))
        along = tf.where(conflict, along, 0.0)
        shares -= along[:, None] * tf.one_hot(others, tasks)
    return shares
