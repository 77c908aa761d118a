"""Draws ids from logits, the same ones for the same seed."""

import numbers

import tensorflow as tf


def filter_logits(
    logits: tf.Tensor, top_k: int | None = None, top_p: float | None = None
) -> tf.Tensor:
    """Leaves only the likeliest classes; all others get `-inf`.

    Args:
        logits: float tensor `(..., classes)`.
        top_k: Number of classes that stay; `None` for all. Of equals at the border
            all stay.
        top_p: The likeliest classes stay until their probabilities add up to this;
            one at least. `None` for all. After `top_k`.

    Returns:
        float tensor `(..., classes)`.

    Raises:
        ValueError: If `top_k` is no whole number from 1, or `top_p` not in (0, 1].

    Example:
        >>> logits = tf.math.log([0.5, 0.3, 0.2])
        >>> kept = filter_logits(logits, top_p=0.6)
        >>> tf.nn.softmax(kept).numpy().round(3).tolist()
        [0.625, 0.375, 0.0]

    References:
        - [Fan et al., 2018](https://arxiv.org/abs/1805.04833), 5.4 (top-k).
        - [Holtzman et al., 2019](https://arxiv.org/abs/1904.09751), 3.1 (top-p).
    """
    check_kept(top_k, top_p)
    if top_k is not None:
        best = tf.math.top_k(logits, min(top_k, logits.shape[-1])).values
        logits = _mask(logits, logits >= best[..., -1:])
    if top_p is not None:
        ordered = tf.sort(logits, direction="DESCENDING")
        # What the classes before it add up to.
        before = tf.cumsum(tf.nn.softmax(ordered), axis=-1, exclusive=True)
        worst = tf.where(before < top_p, ordered, ordered.dtype.max)
        logits = _mask(logits, logits >= tf.reduce_min(worst, axis=-1, keepdims=True))
    return logits


def check_kept(top_k: int | None, top_p: float | None) -> None:
    """Raises unless `filter_logits` would take these settings.

    Raises:
        ValueError: If `top_k` is no whole number from 1, or `top_p` not in (0, 1].
    """
    whole = top_k is None or isinstance(top_k, numbers.Integral)
    if not whole or (top_k is not None and top_k < 1):
        raise ValueError(
            f"`top_k` must be a whole number from 1. Received: top_k={top_k}."
        )
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"`top_p` must be in (0, 1]. Received: top_p={top_p}.")


def sample(logits: tf.Tensor, seeds: tf.Tensor, temperature: float = 1.0) -> tf.Tensor:
    """Draws one class a row; what is drawn depends on no other row.

    Args:
        logits: float tensor `(rows, classes)`; `-inf` is never drawn.
        seeds: int32 tensor `(rows, 2)`.
        temperature: Below 1 the likeliest become likelier; 0 takes the likeliest.

    Returns:
        int32 tensor `(rows,)`.

    Example:
        >>> sample(tf.constant([[0.0, 9.0]]), [[0, 1]]).numpy()
        array([1], dtype=int32)
    """
    if temperature == 0:
        return tf.argmax(logits, axis=-1, output_type=tf.int32)
    # The maximum of Gumbel noise and logits is distributed as they say.
    spec = tf.TensorSpec((logits.shape[-1],), logits.dtype)
    uniform = tf.map_fn(
        lambda seed: tf.random.stateless_uniform(
            spec.shape, seed=seed, minval=1e-20, maxval=1.0, dtype=spec.dtype
        ),
        tf.convert_to_tensor(seeds),
        fn_output_signature=spec,
    )
    noise = -tf.math.log(-tf.math.log(uniform))
    return tf.argmax(logits / temperature + noise, axis=-1, output_type=tf.int32)


def _mask(logits: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    return tf.where(kept, logits, tf.cast(float("-inf"), logits.dtype))
