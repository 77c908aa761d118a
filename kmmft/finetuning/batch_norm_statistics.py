"""BatchNorm's statistics for weights that no training step has seen."""

from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf


def update_batch_norm(
    model: keras.Model, dataset: Iterable, steps: int | None = None
) -> int:
    """Finds BatchNorm's moving statistics anew, for the weights of now.

    For averaged or interpolated weights, whose statistics are none of those that
    training kept. They become the plain means, over the batches, of each batch's mean
    and variance, all batches counting alike; the model runs as in training, dropout
    included. Everything else stays as it was, states of seeds too. Frozen BatchNorm
    layers keep theirs.

    The model runs on one device, with whole batches, whatever its strategy. A layer
    that a pass calls several times counts with its last call.

    Args:
        model: Built model; it need not be compiled.
        dataset: Batches as for `fit`; labels and weights are not used.
        steps: How many batches to use; `None` for all.

    Returns:
        The number of layers with new statistics. If it is 0 no data was read.

    Raises:
        ValueError: If there is no batch, or no end of them, or a layer uses `renorm`.
            Then, and if a batch fails, the statistics are as they were.

    Example:
        >>> norm = keras.layers.BatchNormalization()
        >>> model = keras.Sequential([keras.Input((1,)), norm])
        >>> batches = [np.array([[1.0], [3.0]]), np.array([[4.0], [8.0]])]
        >>> kmmft.finetuning.update_batch_norm(model, batches)
        1
        >>> norm.moving_mean.numpy(), norm.moving_variance.numpy()
        (array([4.], dtype=float32), array([2.5], dtype=float32))

    References:
        - [Izmailov et al., 2018](https://arxiv.org/abs/1803.05407), section 3.2.
    """
    norms = trained_norms(model)
    if not norms:
        return 0
    _check(norms, dataset, steps)
    statistics = [v for n in norms for v in (n.moving_mean, n.moving_variance)]
    # Whatever a pass in training changes: statistics, seeds, counters.
    before = [(v, v.numpy()) for v in model.non_trainable_variables]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            # One batch's statistics are then those of that batch alone.
            norm.momentum = 0.0
        means = _means(model, statistics, dataset, steps)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for variable, value in before:
            variable.assign(value)
    for variable, mean in zip(statistics, means, strict=True):
        variable.assign(mean.astype(variable.dtype))
    return len(norms)


def trained_norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """BatchNorm layers whose statistics training changes."""
    return [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]


def _check(norms: list, dataset: Iterable, steps: int | None) -> None:
    renormed = [norm.name for norm in norms if norm.renorm]
    if renormed:
        raise ValueError(
            "Statistics of batch renormalization cannot be found anew. Received: "
            f"the layers {renormed} with renorm=True. Freeze them, or train on."
        )
    endless = (
        isinstance(dataset, tf.data.Dataset)
        and dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    )
    if endless and steps is None:
        raise ValueError(
            "Statistics need a number of batches. Received: a dataset without end, "
            "and steps=None. Set `steps`."
        )
    if steps is not None and steps < 1:
        raise ValueError(
            f"`steps` must be at least 1. Received: steps={steps}. Set it to the "
            "number of batches to use, or to None for all."
        )


def _means(
    model: keras.Model, statistics: list, dataset: Iterable, steps: int | None
) -> list[np.ndarray]:
    @tf.function(reduce_retracing=True)
    def run(x):
        model(x, training=True)

    sums, count = [0.0] * len(statistics), 0
    for batch in dataset:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        run(tf.nest.map_structure(tf.convert_to_tensor, x))
        values = [variable.numpy().astype(np.float64) for variable in statistics]
        sums = [a + b for a, b in zip(sums, values, strict=True)]
        count += 1
        # Before the next batch is read, which a generator may not have.
        if count == steps:
            break
    if not count:
        raise ValueError(
            "Statistics need data. Received: no batch. Give a dataset that is not "
            "empty."
        )
    return [total / count for total in sums]
