"""A batch computed in parts, one after the other: gradient accumulation."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from kmmft.training.dropout_seeds import DropoutSeeds
from kmmft.training.step_options import wrapped_forward


def split(batch, size: int):
    """Cuts each tensor of a structure into parts of `size` rows.

    Args:
        batch: Structure of tensors `(batch, ...)`; `None` stays `None`.
        size: Rows of a part.

    Returns:
        The structure with tensors `(parts, size, ...)`, and the number of parts: an
        int where the batch's size is known when the graph is built.

    Raises:
        ValueError: If the batch does not divide by `size`. Where its size is known
            only when the graph runs: `InvalidArgumentError`.
    """
    first = next(value for value in tf.nest.flatten(batch) if value is not None)
    rows = first.shape[0]
    rule = "`micro_batch_size` must divide the batch of each replica. Received: "
    if rows is None:
        rows = tf.shape(first)[0]
        message = f"{rule}micro_batch_size={size}"
        with tf.control_dependencies(
            [tf.debugging.assert_equal(rows % size, 0, message)]
        ):
            parts = rows // size
    elif rows % size:
        raise ValueError(f"{rule}micro_batch_size={size} for a batch of {rows}.")
    else:
        parts = rows // size

    def cut(x):
        if x is None:
            return None
        shape = tf.concat([[parts, size], tf.shape(x)[1:]], axis=0)
        known = parts if isinstance(parts, int) else None
        return tf.ensure_shape(tf.reshape(x, shape), [known, size, *x.shape[1:]])

    return tf.nest.map_structure(cut, batch), parts


def part_of(parts, index):
    """One part of what `split` returns."""
    return tf.nest.map_structure(lambda x: None if x is None else x[index], parts)


def run_parts(
    compute: Callable, number, like: list[tf.Tensor], outputs_like=()
) -> tuple[list[tf.Tensor], Any]:
    """Computes the parts one after the other, holding one part's activations.

    Args:
        compute: Given a part's number, returns a list of tensors to be added up and a
            structure of tensors to be put one after the other.
        number: Number of parts.
        like: Tensors of the shapes and dtypes of the sums.
        outputs_like: Structure of `tf.TensorSpec`, one part's outputs.

    Returns:
        The sums, and the structure with all rows.
    """
    zeros = [tf.zeros(tensor.shape, tensor.dtype) for tensor in like]
    arrays = [
        tf.TensorArray(spec.dtype, size=number, element_shape=spec.shape)
        for spec in tf.nest.flatten(outputs_like)
    ]

    def body(index, sums, arrays):
        addends, outputs = compute(index)
        sums = [total + addend for total, addend in zip(sums, addends, strict=True)]
        outputs = tf.nest.flatten(outputs)
        pairs = zip(arrays, outputs, strict=True)
        return index + 1, sums, [array.write(index, out) for array, out in pairs]

    # A loop of the graph, which holds the body once; unrolled parts would keep all
    # their activations.
    _, sums, arrays = tf.while_loop(
        lambda index, *_: index < number,
        body,
        (0, zeros, arrays),
        parallel_iterations=1,
    )
    outputs = [array.concat() for array in arrays]
    return sums, tf.nest.pack_sequence_as(outputs_like, outputs)


def additional_loss(model: keras.Model) -> tf.Tensor:
    """Sum of a model's `losses`, in float32 under every dtype policy."""
    return tf.add_n([tf.zeros(()), *(tf.cast(x, tf.float32) for x in model.losses)])


def dense_gradients(tape: tf.GradientTape, loss, variables: list) -> list[tf.Tensor]:
    """Gradients as dense tensors, zeros where the loss does not depend on a weight."""
    return [
        tf.convert_to_tensor(gradient)
        for gradient in tape.gradient(
            loss,
            [variable.value for variable in variables],
            unconnected_gradients="zero",
        )
    ]


def supervised_gradients(
    model: keras.Model, batch: tuple, seeds: DropoutSeeds, size: int | None
) -> tuple[tf.Tensor, list[tf.Tensor], Any]:
    """Loss, gradients and outputs of a model whose loss is a mean over examples.

    Args:
        model: Compiled model with `step_options`.
        batch: Inputs, targets and weights of the examples, or `None` for these.
        seeds: The step's dropout.
        size: Examples of a part, or `None` for all at once.

    Returns:
        The loss (a part of the sum over the replicas), the gradients of the loss,
        scaled by the optimizer, for `trainable_variables`, and the outputs.
    """
    variables = model.trainable_variables

    def compute(batch, index=0, share=1):
        forward = wrapped_forward(
            model, lambda batch: model(batch[0], training=True), seeds, index
        )
        with tf.GradientTape() as tape:
            loss, y_pred = forward(batch)
            loss = loss / tf.cast(share, loss.dtype)
            scaled = model.optimizer.scale_loss(loss)
        return loss, dense_gradients(tape, scaled, variables), y_pred

    if size is None:
        return compute(batch)
    parts, number = split(batch, size)

    def compute_part(index):
        loss, gradients, y_pred = compute(part_of(parts, index), index, share=number)
        return [loss, *gradients], y_pred

    like = [tf.zeros(()), *(variable.value for variable in variables)]
    outputs = tf.nest.map_structure(
        lambda x: tf.TensorSpec([size, *x.shape[1:]], x.dtype), model.output
    )
    (loss, *gradients), y_pred = run_parts(compute_part, number, like, outputs)
    return loss, gradients, y_pred
