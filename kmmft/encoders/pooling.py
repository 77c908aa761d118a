"""From a token sequence to one vector, with the padding left out."""

import keras
from keras import ops

POOLINGS = ("cls", "last", "max", "mean")


def pool(
    tokens: keras.KerasTensor, mask: keras.KerasTensor, pooling: str
) -> keras.KerasTensor:
    """Pools `tokens` over the places where `mask` is True.

    A row without any real token gives zeros (`"mean"`, `"max"`) or its first
    token (`"cls"`, `"last"`): never NaN.

    Args:
        tokens: float tensor `(batch, length, dim)`.
        mask: bool tensor `(batch, length)`, True marks real tokens.
        pooling: `"cls"` (the first token), `"last"` (the last real token, which
            presumes padding on the right), `"mean"` or `"max"`.

    Returns:
        float tensor `(batch, dim)`.

    Example:
        >>> tokens = np.array([[[1.0], [3.0], [9.0]]])
        >>> mask = np.array([[True, True, False]])
        >>> kmmft.encoders.pool(tokens, mask, "mean").numpy()
        array([[2.]])
    """
    if pooling == "cls":
        return tokens[:, 0]
    if pooling == "last":
        last = ops.sum(ops.cast(mask, "int32"), axis=1, keepdims=True) - 1
        last = ops.expand_dims(ops.maximum(last, 0), -1)
        return ops.squeeze(ops.take_along_axis(tokens, last, axis=1), 1)
    # Summed in float32: half precision loses digits over long sequences.
    real = ops.expand_dims(ops.cast(mask, "float32"), -1)
    values = ops.cast(tokens, "float32")
    if pooling == "mean":
        pooled = ops.sum(values * real, axis=1) / ops.maximum(ops.sum(real, axis=1), 1)
    elif pooling == "max":
        pooled = ops.max(ops.where(real > 0, values, -3e38), axis=1)
        pooled = ops.where(ops.any(mask, axis=1, keepdims=True), pooled, 0.0)
    else:
        raise ValueError(
            f"`pooling` must be one of {POOLINGS} or None (the family's own). "
            f"Received: pooling={pooling!r}"
        )
    return ops.cast(pooled, tokens.dtype)
