"""A run that is killed at a step, and data that it finds again."""

import keras
import tensorflow as tf


class Killed(Exception):
    pass


class KillAt(keras.callbacks.Callback):
    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations.numpy()) == self.step:
            raise Killed


def examples(step):
    """A batch that is a function of the step, as `build_dataset` gives them."""

    def batch(index):
        x = tf.random.stateless_normal((8, 4), (7, index))
        return x, tf.reduce_sum(x, axis=1, keepdims=True)

    return tf.data.Dataset.range(step, 10_000).map(batch)
