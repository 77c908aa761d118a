"""How much each hidden unit of a feed-forward matters."""

import itertools
from collections.abc import Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

from kmmft.finetuning.adapters.kernel_matrix import base_kernel, kernel_matrix

FeedForward = tuple[keras.layers.Layer, keras.layers.Layer]


def magnitude_importance(feed_forwards: Sequence[FeedForward]) -> list[np.ndarray]:
    """The norm of all weights of each unit: into it, its bias, and out of it.

    Args:
        feed_forwards: First and second dense layer of each.

    Returns:
        float array `(units,)` for each.
    """
    return [
        np.sqrt(
            np.sum(np.square(_matrix(first)), axis=0)
            + (0.0 if first.bias is None else np.square(first.bias.numpy().ravel()))
            + np.sum(np.square(_matrix(second)), axis=1)
        )
        for first, second in feed_forwards
    ]


def taylor_importance(
    model: keras.Model,
    feed_forwards: Sequence[FeedForward],
    dataset: Iterable,
    batches: int | None = None,
) -> list[np.ndarray]:
    """The squared change of the loss, to first order, when a unit is taken out.

    `(sum of gradient * weight)^2` over the weights out of a unit, averaged over the
    batches: the square of the loss' derivative by a gate on the unit.

    Args:
        model: Compiled model of a single device; it runs in inference mode.
        feed_forwards: First and second dense layer of each.
        dataset: Batches as for `fit`.
        batches: How many of them to use; `None` for all.

    Returns:
        float array `(units,)` for each.

    Raises:
        ValueError: If the model is not compiled, or there is no batch.
    """
    if not model.compiled:
        raise ValueError(
            "The importance of units is of a loss. Received: a model that is not "
            "compiled. Compile it, or leave out `dataset` to go by magnitude."
        )
    layers = [second for _, second in feed_forwards]
    kernels = [base_kernel(layer).value for layer in layers]

    @tf.function(reduce_retracing=True)
    def of_batch(x, y, sample_weight):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(kernels)
            loss = _loss(model, x, y, sample_weight)
        gradients = tape.gradient(loss, kernels, unconnected_gradients="zero")
        return [
            tf.square(tf.reduce_sum(kernel_matrix(layer).to_matrix(g * w), axis=1))
            for layer, g, w in zip(layers, gradients, kernels, strict=True)
        ]

    sums, count = [0.0] * len(layers), 0
    for batch in itertools.islice(dataset, batches):
        found = of_batch(*keras.utils.unpack_x_y_sample_weight(batch))
        sums = [a + b.numpy() for a, b in zip(sums, found, strict=True)]
        count += 1
    if not count:
        raise ValueError(
            "The importance of units needs examples. Received: no batch. Give a "
            "dataset that is not empty."
        )
    return [total / count for total in sums]


def _loss(model: keras.Model, x, y, sample_weight) -> tf.Tensor:
    outputs = model(x, training=False)
    if hasattr(model, "loss_of_step"):
        return model.loss_of_step((x, y, sample_weight), outputs)
    return model.compute_loss(x, y, outputs, sample_weight, training=False)


def _matrix(layer: keras.layers.Layer) -> np.ndarray:
    return np.asarray(kernel_matrix(layer).to_matrix(base_kernel(layer).numpy()))
