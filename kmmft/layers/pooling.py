"""Pooling: a sequence of tokens to one vector, by rule."""

import keras
from keras import ops

MODES = ("cls", "last", "mean", "max")


@keras.saving.register_keras_serializable("kmmft")
class Pooling(keras.layers.Layer):
    """Pools the real tokens of each example into one vector.

    Use `"cls"` where the encoder was trained to put its summary in the first
    token, `"last"` where it is in the last one, `"mean"` for sentence encoders and
    `"max"` for "is it anywhere" questions.
    Padding never counts, whatever it holds (NaN included), and an example without
    any real token gives zeros. The mean is summed in float32 under float16.

    Args:
        mode: `"cls"` (the first token), `"last"` (the last real token, which presumes
            padding on the right), `"mean"` or `"max"`.

    Call arguments:
        tokens: float tensor `(batch, length, dim)`.
        mask: optional bool tensor `(batch, length)`, True marks real tokens.

    Returns:
        float tensor `(batch, dim)`.

    Raises:
        ValueError: If `mode` is not one of the four.

    Example:
        >>> tokens = np.array([[[1.0], [3.0], [99.0]]])
        >>> mask = np.array([[True, True, False]])
        >>> kmmft.layers.Pooling("mean")(tokens, mask=mask).numpy().tolist()
        [[2.0]]
    """

    def __init__(self, mode: str = "mean", **kwargs):
        super().__init__(**kwargs)
        if mode not in MODES:
            raise ValueError(
                f"`mode` must be one of {MODES}. Received: mode={mode!r}. "
                "For a learnt pooling use `AttentionPooling`."
            )
        self.mode = mode
        self.supports_masking = True

    def call(self, tokens, mask=None):
        mask = ops.ones_like(tokens[..., 0], "bool") if mask is None else mask
        mask = ops.expand_dims(ops.cast(mask, "bool"), -1)
        if self.mode == "cls":
            return ops.where(mask[:, 0], tokens[:, 0], 0.0)
        if self.mode == "last":
            length = ops.sum(ops.cast(mask, "int32"), axis=1, keepdims=True)
            last = ops.equal(ops.cumsum(ops.cast(mask, "int32"), axis=1), length)
            return ops.sum(ops.where(last & mask, tokens, 0.0), axis=1)
        if self.mode == "max":
            greatest = ops.max(ops.where(mask, tokens, -float("inf")), axis=1)
            return ops.where(ops.any(mask, axis=1), greatest, 0.0)
        # A float16 sum of a few thousand tokens can pass 65504.
        total = ops.sum(ops.cast(ops.where(mask, tokens, 0.0), "float32"), axis=1)
        count = ops.sum(ops.cast(mask, "float32"), axis=1)
        return ops.cast(total / ops.maximum(count, 1.0), self.compute_dtype)

    def compute_mask(self, inputs, previous_mask=None):
        return None

    def compute_output_shape(self, tokens_shape) -> tuple:
        return (tokens_shape[0], tokens_shape[-1])

    # === Config ===
    def get_config(self) -> dict:
        return {**super().get_config(), "mode": self.mode}
