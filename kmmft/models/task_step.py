"""A task's part of a train step: its loss and gradients, before any update."""

import dataclasses
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from kmmft.models.contrastive_training import ContrastiveTraining
from kmmft.training import DropoutSeeds
from kmmft.training.collectives import num_replicas
from kmmft.training.micro_batches import dense_gradients, supervised_gradients


@dataclasses.dataclass(frozen=True)
class TaskStep:
    """What one task contributes to a step.

    Attributes:
        loss: This replica's part of the task's loss, penalties of weights included.
        gradients: Of the loss, times the optimizer's scale, one for each of the task's
            `trainable_variables`; `None` where it does not depend on one.
        log: Updates the task's metrics and returns their values by name.
    """

    loss: tf.Tensor
    gradients: list[tf.Tensor | None]
    log: Callable[[], dict[str, tf.Tensor]]


def task_step(task: keras.Model, data, seeds: DropoutSeeds) -> TaskStep:
    """Computes a task's loss and gradients on its part of a batch.

    As the task's own train step does, with its `step_options` and `micro_batch_size`,
    but without its update.

    Args:
        task: Compiled kmmft model.
        data: What its `fit` would get as a batch.
        seeds: Random numbers of its dropout.
    """
    if isinstance(task, ContrastiveTraining):
        inputs, group = task._unpack(data)
        loss, gradients = task.step_gradients(inputs, group, seeds)
        return TaskStep(loss, gradients, lambda: task._logs(loss, inputs))
    x, y, sample_weight = batch = keras.utils.unpack_x_y_sample_weight(
        task.step_batch(data)
    )
    loss, gradients, y_pred = supervised_gradients(
        task, batch, seeds, task.micro_batch_size
    )

    def log():
        rows = tf.shape(keras.tree.flatten(x)[0])[0]
        task._loss_tracker.update_state(loss * num_replicas(), sample_weight=rows)
        return task.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    return TaskStep(loss, gradients, log)


@dataclasses.dataclass(frozen=True)
class Penalties:
    """The penalties (`regularizer`s) of a model's weights, by the weight's id.

    Attributes:
        values: This replica's parts of the penalties.
        gradients: Of these, times the optimizer's scale.
    """

    values: dict[int, tf.Tensor]
    gradients: dict[int, tf.Tensor]

    def sum(self, weights: Sequence[keras.Variable]) -> tf.Tensor:
        """The penalty of some weights together, a float32 scalar."""
        own = [self.values[id(v)] for v in weights if id(v) in self.values]
        return tf.add_n([tf.zeros(()), *own])


def weight_penalties(model: keras.Model) -> Penalties:
    """Computes the penalties of a compiled model's trainable weights."""
    held = [v for v in model.trainable_variables if v.regularizer is not None]
    with tf.GradientTape() as tape:
        values = [tf.cast(v.regularizer(v), tf.float32) / num_replicas() for v in held]
        scaled = model.optimizer.scale_loss(tf.add_n([tf.zeros(()), *values]))
    gradients = dense_gradients(tape, scaled, held) if held else []
    keys = [id(v) for v in held]
    return Penalties(
        dict(zip(keys, values, strict=True)), dict(zip(keys, gradients, strict=True))
    )


def gradients_without_penalties(
    task: keras.Model, step: TaskStep, penalties: Penalties
) -> dict[int, tf.Tensor]:
    """A task's gradients by weight: a penalty counts once, and not once a task."""
    own = {}
    for weight, gradient in zip(task.trainable_variables, step.gradients, strict=True):
        if gradient is None:
            continue
        gradient = tf.convert_to_tensor(gradient)
        if id(weight) in penalties.gradients:
            gradient -= penalties.gradients[id(weight)]
        own[id(weight)] = gradient
    return own
