"""KerasHub's transformer blocks, word by word."""

from collections.abc import Sequence

import keras
import tensorflow as tf


def cached_blocks(
    blocks: Sequence[keras.layers.Layer],
    x: tf.Tensor,
    place: tf.Tensor | int,
    mask: tf.Tensor,
    cache: Sequence[tf.Tensor],
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Runs what stands at `place` and behind it through causal blocks.

    Args:
        blocks: `keras_hub.layers.TransformerDecoder`s without cross-attention.
        x: `(batch, length, hidden_dim)`.
        place: Of its first token.
        mask: bool `(batch, places)`, True marks real tokens. What is not written yet
            is hidden by the causal mask.
        cache: Keys and values of each block, `(batch, 2, places, heads, head_dim)`.

    Returns:
        What the last block returns, and all caches.
    """
    after = []
    for block, own in zip(blocks, cache, strict=True):
        x, own = block(
            x,
            decoder_attention_mask=mask[:, None, :],
            self_attention_cache=own,
            self_attention_cache_update_index=place,
        )
        after.append(own)
    return x, after
