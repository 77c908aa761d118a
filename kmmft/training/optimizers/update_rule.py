"""What an optimizer does differently for one weight."""

import dataclasses

import keras


@dataclasses.dataclass(frozen=True)
class UpdateRule:
    """How one weight is updated, where it differs from the optimizer's other weights.

    Set it as a weight's attribute `update_rule`; `AdamW` and `SGD` of
    `kmmft.training` read it when a train step is traced. `kmmft.finetuning.Plan` sets
    it for whole models.

    Attributes:
        learning_rate_scale: Factor on the rate, and so on the decays.
        learning_rate: A rate of its own instead of the optimizer's: a number, or a
            schedule of the steps since the weight began to train.
        weight_decay: Instead of the optimizer's own; `None` for that.
        l2_sp: Decoupled pull to `anchor`: each step takes away
            `rate * l2_sp * (weight - anchor)`, before the gradient's update.
        anchor: Variable of the weight's shape, where `l2_sp` pulls to.

    Raises:
        ValueError: If `l2_sp` has no anchor, or a number is negative.

    Example:
        >>> layer = keras.layers.Dense(2)
        >>> layer.build((None, 3))
        >>> layer.kernel.update_rule = kmmft.training.UpdateRule(0.1, weight_decay=0.0)
        >>> optimizer = kmmft.training.SGD(1.0)
        >>> optimizer.apply([tf.ones((3, 2))], [layer.kernel])

    References:
        - [Li et al., 2018](https://arxiv.org/abs/1802.01483), eq. 3, as a decoupled
          decay.
    """

    learning_rate_scale: float = 1.0
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule | None = None
    weight_decay: float | None = None
    l2_sp: float = 0.0
    anchor: keras.Variable | None = None

    def __post_init__(self):
        for name in ("learning_rate_scale", "weight_decay", "l2_sp"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"`{name}` must not be negative. Received: {value}.")
        if self.l2_sp and self.anchor is None:
            raise ValueError(
                f"`l2_sp` needs an anchor. Received: l2_sp={self.l2_sp}, anchor=None."
            )


DEFAULT_RULE = UpdateRule()


def rule_of(variable) -> UpdateRule:
    """The rule of a weight; most have none of their own."""
    return getattr(variable, "update_rule", DEFAULT_RULE)
