"""Random numbers of a train step as a function of seed, step, replica and part."""

import keras
import tensorflow as tf

from kmmft.training.collectives import replica_id


class DropoutSeeds:
    """Sets a model's seed generators, so that a step's masks can be drawn again.

    Keras' seed generators count their draws, alike on every replica: all replicas
    drop the same units, and a forward pass that is run again (gradient caching) drops
    others. Here each generator's count starts, in each step, at a hash of the step,
    the replica and the micro-batch. Its seed stays what it was.

    Args:
        model: Its seed generators are set. A frozen model's are too.
        step: Number of the optimizer's step, an integer tensor.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5)])
        >>> seeds = kmmft.training.DropoutSeeds(model, step=7)
        >>> seeds.set(part=0)
        >>> first = model(np.ones((2, 4)), training=True)
        >>> seeds.set(part=0)
        >>> bool(np.all(first == model(np.ones((2, 4)), training=True)))
        True
    """

    def __init__(self, model: keras.Model, step: int | tf.Tensor):
        # Keras names them all so. None holds its weights under this name.
        self.states = [v for v in model.variables if v.name == "seed_generator_state"]
        self.step = step

    def set(self, part: int | tf.Tensor = 0, draw: int = 0) -> None:
        """Starts the random numbers of one micro-batch. Call it in replica context.

        Args:
            part: Number of the micro-batch, or of whatever else is to differ.
            draw: Number of the draw, where a step draws a micro-batch's masks more
                than once.
        """
        if not self.states:
            return
        count = tf.random.stateless_uniform(
            [],
            self.key(part, draw) if draw else self.key(part),
            minval=None,
            maxval=None,
            dtype=tf.int32,
        )
        count = tf.cast(count, tf.int64)
        for state in self.states:
            state.assign(tf.stack([tf.cast(state.value[0], tf.int64), count]))

    def key(self, *numbers: int | tf.Tensor) -> tf.Tensor:
        """A seed for TensorFlow's stateless random functions, for step and replica.

        Args:
            *numbers: What else it is to depend on.

        Returns:
            int32 tensor `(2,)`.
        """
        key = tf.constant([0, 0], tf.int32)
        for number in (self.step, replica_id(), *numbers):
            number = tf.cast(number, tf.int32)
            key = tf.random.experimental.stateless_fold_in(key, number)
        return key
