"""The trained temperature of contrastive losses."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable("kmmft")
class LogitScale(keras.layers.Layer):
    """Holds the factor, and for SigLIP the bias, that turn cosines into logits.

    The factor is trained as its logarithm. After each step it is held to `maximum`
    as in CLIP, by a constraint on the weight: a minimum in the forward pass would
    have gradient 0 above it, and a factor that got there would never come back. All
    numbers are float32 under every dtype policy: near 100, bfloat16 knows only every
    other half. Leave it out of weight decay, which pulls the factor to 1:
    `optimizer.exclude_from_weight_decay(var_names=["logit_scale", "logit_bias"])`.

    Args:
        initial: First factor, the inverse of the temperature. SigLIP starts at 10.
        maximum: Largest factor.
        bias: First bias, or `None` for none. SigLIP starts at -10.

    Call arguments:
        similarity: float tensor of any shape, cosines.

    Returns:
        float32 tensor of the same shape, logits.

    Raises:
        ValueError: If `initial` is not above 0 and at most `maximum`.

    Example:
        >>> layer = kmmft.layers.LogitScale(initial=10.0, bias=-10.0)
        >>> layer(np.array([1.0, 0.5])).numpy()
        array([ 0., -5.], dtype=float32)

    References:
        - [Radford et al., 2021](https://arxiv.org/abs/2103.00020), section 2.5.
        - [Zhai et al., 2023](https://arxiv.org/abs/2303.15343), section 3.2 (bias).
    """

    def __init__(
        self,
        initial: float = 1 / 0.07,
        maximum: float = 100.0,
        bias: float | None = None,
        **kwargs,
    ):
        super().__init__(**{**kwargs, "dtype": "float32"})
        if not 0 < initial <= maximum:
            raise ValueError(
                "`initial` must be above 0 and at most `maximum`. "
                f"Received: initial={initial}, maximum={maximum}"
            )
        self.initial = initial
        self.maximum = maximum
        self.bias = bias
        # At once, so that `scale` can be asked before the layer is ever called.
        self.build()

    def build(self, similarity_shape=None):
        self.log_scale = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(math.log(self.initial)),
            constraint=_AtMost(math.log(self.maximum)),
            name="logit_scale",
        )
        self.logit_bias = None
        if self.bias is not None:
            self.logit_bias = self.add_weight(
                shape=(),
                initializer=keras.initializers.Constant(self.bias),
                name="logit_bias",
            )

    def scale(self):
        """The factor, a float32 scalar tensor."""
        return ops.exp(self.log_scale)

    def call(self, similarity):
        logits = self.scale() * similarity
        return logits if self.logit_bias is None else logits + self.logit_bias

    def compute_output_shape(self, similarity_shape) -> tuple:
        return similarity_shape

    # === Config ===
    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "initial": self.initial,
            "maximum": self.maximum,
            "bias": self.bias,
        }


class _AtMost(keras.constraints.Constraint):
    """Holds a weight to at most `maximum`."""

    def __init__(self, maximum: float):
        self.maximum = maximum

    def __call__(self, weight):
        return ops.minimum(weight, self.maximum)
