"""Noise on the gradients that fades with the steps."""

import dataclasses

import keras
import tensorflow as tf

from kmmft.training.step_options import StepOption


@keras.saving.register_keras_serializable("kmmft")
@dataclasses.dataclass(frozen=True)
class GradientNoise(StepOption):
    """Adds normal noise of variance eta / (1 + t)^gamma to the gradients of step t.

    After the gradients are summed, so that all replicas add the same noise, and
    before the optimizer clips them. The noise depends on the seed and the step only: a
    resumed run adds what it would have added. Frozen weights get none.

    Args:
        eta: Variance in the first step; the paper tries 0.01, 0.3 and 1.
        gamma: How fast it fades.
        seed: Seed of the noise.

    Raises:
        ValueError: If `eta` or `gamma` is negative.

    Example:
        >>> class Model(kmmft.training.DistributedTraining, keras.Model):
        ...     pass
        >>> inputs = keras.Input((3,))
        >>> model = Model(inputs, keras.layers.Dense(1)(inputs))
        >>> model.step_options = [kmmft.finetuning.GradientNoise(eta=0.01)]
        >>> model.compile("sgd", "mse")
        >>> history = model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0)

    References:
        - [Neelakantan et al., 2015](https://arxiv.org/abs/1511.06807), eq. 1.
    """

    eta: float = 0.01
    gamma: float = 0.55
    seed: int = 0

    def __post_init__(self):
        if self.eta < 0 or self.gamma < 0:
            raise ValueError(
                "`eta` and `gamma` must not be negative. Received: "
                f"eta={self.eta}, gamma={self.gamma}."
            )

    def change_gradients(
        self, model: keras.Model, gradients: list[tf.Tensor | None]
    ) -> list[tf.Tensor | None]:
        step = tf.cast(model.optimizer.iterations.value, tf.int32)
        variance = self.eta / tf.pow(1.0 + tf.cast(step, tf.float32), self.gamma)
        # Gradients have the scale that keeps float16 from underflow.
        deviation = model.optimizer.scale_loss(tf.sqrt(variance))
        changed = []
        for number, gradient in enumerate(gradients):
            if gradient is not None:
                seed = tf.random.experimental.stateless_fold_in(
                    [self.seed, number], step
                )
                noise = tf.random.stateless_normal(tf.shape(gradient), seed)
                gradient += tf.cast(deviation * noise, gradient.dtype)
            changed.append(gradient)
        return changed
