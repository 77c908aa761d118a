"""AdamW with one fused kernel a weight."""

import keras
import tensorflow as tf

from kmmft.training.optimizers.fused_updates import FusedUpdates


@keras.saving.register_keras_serializable("kmmft")
class AdamW(FusedUpdates, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` in one kernel a weight: same numbers, less time.

    Keras composes Adam of some thirty operations for each weight, more than half of a
    training graph. Here there is one, and the time to the first step shrinks with it.
    Each weight may have an `UpdateRule`. Decay is done with the update, under any
    loss scale, clipping and strategy. A gradient of an embedding updates all rows, as
    in Keras.

    Args:
        *args: As for `keras.optimizers.AdamW`.
        **kwargs: As for `keras.optimizers.AdamW`, but for `amsgrad`.

    Raises:
        ValueError: If `amsgrad` is true.

    Example:
        >>> weight = keras.Variable(np.ones(2))
        >>> kmmft.training.AdamW(0.1).apply([tf.ones(2)], [weight])
        >>> weight.numpy().round(3)
        array([0.9, 0.9])

    References:
        - [Loshchilov & Hutter, 2017](https://arxiv.org/abs/1711.05101), alg. 2.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.amsgrad:
            raise ValueError(
                "kmmft.training.AdamW has no AMSGrad. Received: amsgrad=True. Use "
                "keras.optimizers.AdamW."
            )

    def slots(self, index: int) -> list[keras.Variable]:
        return [self._momentums[index], self._velocities[index]]

    def shared_numbers(self, steps: tf.Tensor) -> dict[str, tf.Tensor]:
        return {
            "beta_1_power": tf.pow(self.beta_1, steps),
            "beta_2_power": tf.pow(self.beta_2, steps),
        }

    def fused_step(self, gradient, variable, index: int, numbers: dict) -> None:
        momentum, velocity = self.slots(index)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=momentum.value.handle,
            v=velocity.value.handle,
            beta1_power=numbers["beta_1_power"],
            beta2_power=numbers["beta_2_power"],
            lr=numbers["learning_rate"],
            beta1=tf.cast(self.beta_1, variable.dtype),
            beta2=tf.cast(self.beta_2, variable.dtype),
            epsilon=tf.cast(self.epsilon, variable.dtype),
            grad=gradient,
        )
