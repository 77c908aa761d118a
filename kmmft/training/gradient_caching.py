"""Exact gradients of a contrastive loss over a batch whose activations do not fit."""

from collections.abc import Callable

import keras
import tensorflow as tf

from kmmft.training.dropout_seeds import DropoutSeeds
from kmmft.training.micro_batches import (
    additional_loss,
    dense_gradients,
    part_of,
    run_parts,
    split,
)


def cached_gradients(
    model: keras.Model,
    embed: Callable[[int | tf.Tensor], dict[str, tf.Tensor]],
    number: int | tf.Tensor,
    specs: dict[str, tf.TensorSpec],
    loss_of: Callable[[dict[str, tf.Tensor]], tf.Tensor],
    seeds: DropoutSeeds,
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Gradients as of one large batch, with the memory of one of its parts.

    First all parts are embedded and only the vectors are kept. Then the loss of all
    vectors gives a gradient for each vector. Last each part is embedded again, with
    the same dropout, and its vectors' gradients are passed back to the weights. Time
    grows by one forward pass, and the loss sees all negatives, which the mean of the
    parts' losses would not.

    BatchNorm in training mode takes its statistics from one part.

    Args:
        model: Compiled model. Its `losses` are added to the loss.
        embed: Given a part's number, returns vectors by name.
        number: Number of parts.
        specs: One part's vectors.
        loss_of: The loss of all parts' vectors, a part of the sum over the replicas.
        seeds: The step's dropout.

    Returns:
        The loss, and the gradients of the loss, scaled by the optimizer, for the
        model's `trainable_variables`.

    References:
        - [Gao et al., 2021](https://arxiv.org/abs/2101.06983), section 3.2.
    """
    variables = model.trainable_variables
    scale_loss = model.optimizer.scale_loss
    replicas = tf.distribute.get_strategy().num_replicas_in_sync

    def forward(index):
        seeds.set(index)
        # Losses of a call belong to its own pass of the loop.
        model._clear_losses()
        return embed(index)

    state = _state_of_training(model)
    before = [tf.identity(variable.value) for variable in state]
    _, vectors = run_parts(lambda index: ([], forward(index)), number, [], specs)
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        loss = loss_of(vectors)
        scaled = scale_loss(loss)
    vector_gradients, *gradients = tape.gradient(
        scaled,
        [vectors, *(variable.value for variable in variables)],
        unconnected_gradients="zero",
    )
    for variable, value in zip(state, before, strict=True):
        variable.assign(value)
    size = next(iter(specs.values())).shape[0]
    # Not slices of the whole, whose sizes XLA cannot tell in a loop.
    vector_gradients, _ = split(vector_gradients, size)

    def backward(index):
        with tf.GradientTape() as tape:
            part = forward(index)
            extra = additional_loss(model)
            extra /= tf.cast(number * replicas, extra.dtype)
            total = scale_loss(extra)
            given = part_of(vector_gradients, index)
            for name, own in part.items():
                total += tf.reduce_sum(own * given[name])
        return [extra, *dense_gradients(tape, total, variables)], ()

    like = [tf.zeros(()), *(variable.value for variable in variables)]
    (extra, *passed_back), _ = run_parts(backward, number, like)
    model._clear_losses()
    sums = [a + b for a, b in zip(gradients, passed_back, strict=True)]
    return loss + extra, sums


def _state_of_training(model: keras.Model) -> list[keras.Variable]:
    """What a forward pass in training changes, but for seeds: BatchNorm's means."""
    return [
        variable
        for layer in model._flatten_layers()
        if layer.trainable
        for variable in layer._non_trainable_variables
    ]
