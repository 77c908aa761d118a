"""Penalties that hold a weight near to where it started."""

import keras
import numpy as np
import tensorflow as tf


@keras.saving.register_keras_serializable("kmmft")
class L2SP(keras.regularizers.Regularizer):
    """Pulls one weight back to its start: `strength * sum(fisher * (w - anchor)^2)`.

    Set it as a variable's `regularizer`; a `kmmft.finetuning.Plan` does so for whole
    models. Without `anchor` the weight is pulled to zero, which is plain L2; with
    `fisher`, entries that mattered to the old task are held more firmly. The term is
    computed in float32 under every dtype policy, and counts once however many
    replicas there are. Note that there is no factor 1/2.

    Args:
        strength: Weight of the term in the loss.
        anchor: Where to pull, of the weight's shape: a variable, as `anchor_of` makes
            it from the weight, or an array. `None` for zero.
        fisher: Factor of each entry, of the weight's shape, not negative: an array,
            as `estimate_fisher` returns it, or a variable. `None` for one.

    Call arguments:
        x: The weight, a variable or a tensor.

    Returns:
        float32 scalar.

    Raises:
        ValueError: If `strength` or `fisher` is negative, a shape is not the weight's,
            or `anchor` is the weight itself.

    Example:
        >>> layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
        >>> layer.build((None, 3))
        >>> anchor = kmmft.finetuning.anchor_of(layer.kernel)
        >>> layer.kernel.regularizer = kmmft.finetuning.L2SP(0.1, anchor)
        >>> layer.kernel.assign_add(np.full((3, 1), 2.0)).shape
        TensorShape([3, 1])
        >>> round(float(layer.losses[0]), 6)
        1.2

    References:
        - [Li et al., 2018](https://arxiv.org/abs/1802.01483), eq. 3 (L2-SP) and
          eq. 5 (L2-SP-Fisher), both there with a factor 1/2.
        - [Kirkpatrick et al., 2017](https://arxiv.org/abs/1612.00796), eq. 3.
    """

    def __init__(
        self,
        strength: float,
        anchor: keras.Variable | np.ndarray | None = None,
        fisher: keras.Variable | np.ndarray | None = None,
    ):
        if strength < 0:
            raise ValueError(
                f"`strength` must not be negative. Received: strength={strength}."
            )
        if fisher is not None and np.min(fisher) < 0:
            raise ValueError(
                "`fisher` must not be negative. Received: an entry of "
                f"{np.min(fisher)}. Give mean squares, as estimate_fisher does."
            )
        self.strength = strength
        self.anchor = _kept(anchor, "anchor")
        self.fisher = _kept(fisher, "fisher")

    def __call__(self, x) -> tf.Tensor:
        self._check(x)
        anchor, fisher = _float32(self.anchor), _float32(self.fisher)

        # By hand, since the difference would else be held in memory until the
        # backward pass, for all weights.
        @tf.custom_gradient
        def penalty(weight):
            def difference():
                return weight if anchor is None else weight - anchor

            if fisher is None:
                value = 2 * self.strength * tf.nn.l2_loss(difference())
            else:
                value = self.strength * tf.reduce_sum(fisher * difference() ** 2)

            def gradient(upstream):
                pull = (2 * self.strength * upstream) * difference()
                return pull if fisher is None else fisher * pull

            return value, gradient

        return penalty(_float32(x))

    def _check(self, x) -> None:
        for name, value in (("anchor", self.anchor), ("fisher", self.fisher)):
            if value is not None and tuple(value.shape) != tuple(x.shape):
                raise ValueError(
                    f"`{name}` must have the weight's shape {tuple(x.shape)}. "
                    f"Received: {name} of shape {tuple(value.shape)}."
                )
        if self.anchor is not None and _inner(self.anchor) is _inner(x):
            raise ValueError(
                "`anchor` must be a copy of the weight. Received: the weight itself, "
                "to which nothing would be pulled (`keras.Variable(v.value)` copies "
                "nothing). Make it with kmmft.finetuning.anchor_of(weight)."
            )

    def get_config(self) -> dict:
        if self.anchor is not None or self.fisher is not None:
            raise ValueError(
                "A config cannot hold weights. Received: an L2SP with an anchor or "
                "Fisher information. Set it as the `regularizer` of a built weight, "
                "after the model is loaded."
            )
        return {"strength": self.strength}


def anchor_of(weight: keras.Variable) -> keras.Variable:
    """Copies a weight as it is now: what `L2SP` and `UpdateRule` pull to.

    Call it after pretrained weights are loaded.

    Args:
        weight: Built weight.

    Returns:
        Variable of the same value, shape and dtype that does not train, on the
        devices of the weight's strategy.

    Example:
        >>> weight = keras.Variable(np.ones(2, "float32"))
        >>> anchor = kmmft.finetuning.anchor_of(weight)
        >>> weight.assign_add(np.ones(2)).numpy(), anchor.numpy()
        (array([2., 2.], dtype=float32), array([1., 1.], dtype=float32))
    """
    # Through NumPy: a variable made from a variable's value is an alias of it.
    return kept_beside(weight, weight.numpy(), weight.dtype, "anchor")


def kept_beside(
    weight: keras.Variable, value: np.ndarray, dtype: str, name: str
) -> keras.Variable:
    """A variable of a value that belongs to a weight, and does not train.

    Returns:
        Variable `<weight's name>_<name>` on the devices of the weight's strategy.
    """
    with tf.init_scope(), _strategy_of(weight).scope():
        return keras.Variable(
            value, dtype=dtype, trainable=False, name=f"{weight.name}_{name}"
        )


def _strategy_of(weight: keras.Variable) -> tf.distribute.Strategy:
    own = getattr(weight.value, "distribute_strategy", None)
    return own or tf.distribute.get_strategy()


def _kept(value, name: str) -> keras.Variable | None:
    if value is None or isinstance(value, keras.Variable):
        return value
    # Not a constant, which each graph would hold once more.
    with tf.init_scope():
        return keras.Variable(
            np.array(value, np.float32), dtype="float32", trainable=False, name=name
        )


def _inner(value):
    return value.value if isinstance(value, keras.Variable) else value


def _float32(value) -> tf.Tensor | None:
    return None if value is None else tf.cast(_inner(value), tf.float32)
