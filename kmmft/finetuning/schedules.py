"""Learning rates over the steps of a fine-tuning."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("kmmft")
class SlantedTriangular(keras.optimizers.schedules.LearningRateSchedule):
    """A short rise and a long fall, both linear.

    Brings a pretrained model quickly to a place that suits the new task, and then
    refines it slowly.

    Args:
        peak_learning_rate: Highest rate.
        total_steps: Steps of the whole training; the rate stays at its lowest then.
        rise_fraction: Share of the steps in which the rate rises.
        ratio: How many times smaller the lowest rate is.

    Call arguments:
        step: Number of steps done.

    Returns:
        float32 scalar.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> schedule = kmmft.finetuning.SlantedTriangular(0.32, total_steps=100)
        >>> [round(float(schedule(step)), 3) for step in (0, 10, 100)]
        [0.01, 0.32, 0.01]

    References:
        - [Howard & Ruder, 2018](https://arxiv.org/abs/1801.06146), eq. 3.
    """

    def __init__(
        self,
        peak_learning_rate: float,
        total_steps: int,
        rise_fraction: float = 0.1,
        ratio: float = 32.0,
    ):
        super().__init__()
        if total_steps < 1 or not 0 < rise_fraction < 1 or ratio < 1:
            raise ValueError(
                "A slanted triangle needs total_steps >= 1, rise_fraction in (0, 1) "
                f"and ratio >= 1. Received: total_steps={total_steps}, "
                f"rise_fraction={rise_fraction}, ratio={ratio}."
            )
        self.peak_learning_rate = peak_learning_rate
        self.total_steps = total_steps
        self.rise_fraction = rise_fraction
        self.ratio = ratio

    def __call__(self, step) -> tf.Tensor:
        # At least one step: a peak at step 0 would have no rise.
        peak = max(int(self.total_steps * self.rise_fraction), 1)
        step = tf.cast(step, tf.float32)
        rise = step / peak
        fall = 1 - (step - peak) / max(self.total_steps - peak, 1)
        share = tf.maximum(tf.minimum(rise, fall), 0.0)
        lowest = self.peak_learning_rate / self.ratio
        return lowest + share * (self.peak_learning_rate - lowest)

    def get_config(self) -> dict:
        return {
            "peak_learning_rate": self.peak_learning_rate,
            "total_steps": self.total_steps,
            "rise_fraction": self.rise_fraction,
            "ratio": self.ratio,
        }
