"""How long a model's training steps take, without training it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    import keras


def step_seconds(model: keras.Model, dataset: tf.data.Dataset, num_steps: int) -> float:
    """Times steps of `fit`; afterwards the model is as it was.

    Args:
        model: Compiled and built model.
        dataset: Batches for at least `num_steps + 1` steps.
        num_steps: Steps to time, after a first one that traces.

    Returns:
        Seconds of a step, the mean.

    Raises:
        ValueError: If the model is not compiled and built.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> data = tf.data.Dataset.from_tensors((np.ones((4, 3)), np.ones((4, 1))))
        >>> before = model.get_weights()
        >>> kmmft.data.training_time.step_seconds(model, data.repeat(), 3) > 0
        True
        >>> all(map(np.array_equal, before, model.get_weights()))
        True
    """
    import keras

    if not model.built or not getattr(model, "compiled", False):
        raise ValueError(
            "A model must be compiled and built for its steps to be timed. Received: "
            f"{model.name!r}, built={model.built}. Call `compile`, and the model once."
        )

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, step, logs=None):
            if step == 0:
                self.start = time.perf_counter()

        def on_train_end(self, logs=None):
            self.seconds = time.perf_counter() - self.start

    with model.distribute_strategy.scope():
        model.optimizer.build(model.trainable_variables)
    kept = [*model.variables, *model.optimizer.variables]
    values = [np.array(variable.numpy()) for variable in kept]
    clock = Clock()
    try:
        model.fit(
            dataset,
            epochs=1,
            steps_per_epoch=num_steps + 1,
            callbacks=[clock],
            verbose=0,
        )
    finally:
        for variable, value in zip(kept, values, strict=True):
            variable.assign(value)
        model.reset_metrics()
    return clock.seconds / num_steps
