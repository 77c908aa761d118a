"""Mends for training on several replicas that stock Keras does wrong."""

import tensorflow as tf


class DistributedTraining:
    """Mixin for a `keras.Model` that is trained under `tf.distribute`.

    Keras 3.15 builds a model from the sum of the replicas' first batches, which fails
    for boolean inputs, such as padding masks, and for batches of unequal size. The
    first replica's batch is enough.

    Still as in stock Keras on several replicas: dropout draws the same mask on each,
    BatchNorm keeps statistics of its own on each, and `global_clipnorm` clips each
    replica's gradients before they are summed.

    Example:
        >>> class Model(kmmft.training.DistributedTraining, keras.Model):
        ...     pass
    """

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Overrides a private method of Keras' TensorFlow trainer.
        if self._distribute_strategy is None:
            return
        strategy = self.distribute_strategy
        if iterator is not None:
            for _, _, distributed in iterator:
                data_batch = tf.nest.map_structure(
                    lambda value: strategy.experimental_local_results(value)[0],
                    next(distributed),
                )
                break
        with strategy.scope():
            self._symbolic_build(data_batch=data_batch)
