"""How attention carries each token's content to an encoder's pooled vector."""

from collections.abc import Sequence

import numpy as np


def attention_rollout(attentions: Sequence[np.ndarray]) -> np.ndarray:
    """Multiplies the attention of all layers, each with its residual connection.

    Args:
        attentions: One float array `(heads, tokens, tokens)` a layer, the first layer
            first; each row adds up to 1.

    Returns:
        float array `(tokens, tokens)`: the share that each input token (column) has
        in each output token (row).

    Raises:
        ValueError: If there is no layer, or the layers' tokens are not as many.

    Example:
        >>> from kmmft.evaluation.explain_rollout import attention_rollout
        >>> attention_rollout([np.array([[[0.0, 1.0], [0.0, 1.0]]])])
        array([[0.5, 0.5],
               [0. , 1. ]])

    References:
        - [Abnar & Zuidema, 2020](https://arxiv.org/abs/2005.00928), section 3.
    """
    shapes = {np.shape(attention)[1:] for attention in attentions}
    if len(shapes) != 1 or len({*next(iter(shapes))}) != 1:
        raise ValueError(
            "Attention rollout needs layers in which all tokens attend to all. "
            f"Received: attention of shapes {sorted(shapes)}. Use "
            "method='integrated_gradients'"
        )
    identity = np.eye(next(iter(shapes))[0])
    shares = identity
    for attention in attentions:
        mixed = 0.5 * np.mean(attention, axis=0) + 0.5 * identity
        shares = mixed / mixed.sum(axis=-1, keepdims=True) @ shares
    return shares
