"""PaliGemma's language model, which writes about encoded tokens."""

from collections.abc import Sequence

import keras
import keras_hub
import tensorflow as tf
from keras import ops

from kmmft.encoders.prompt_encoder import scaled_words
from kmmft.models.pretrained_decoder import PretrainedDecoder


@keras.saving.register_keras_serializable("kmmft")
class PaliGemmaDecoder(PretrainedDecoder, keras.layers.Layer):
    """The Gemma of a PaliGemma backbone, without the image encoder's weights.

    It reads the context's tokens, each of which sees all others, and writes after
    them, where each word sees the context and what is before it. With the same
    backbone's image encoder and `kmmft.encoders.PromptEncoder`, whose tokens it reads
    as they are, it is the whole PaliGemma. What is padding in the context goes before
    everything else: as in pretraining, the text follows the prompt directly.

    The first word is written in the place of the context's last token, the prompt's
    line break. So a text's start token stands for that token: it is given, but its own
    vector is never read.

    Args:
        backbone: A `keras_hub.models.PaliGemmaBackbone` (PaliGemma 1 or 2).
        prompt_ids: Token ids that are read after the context: a prompt that is the
            same for all examples.

    Call arguments:
        token_ids: int tensor `(batch, length)`.
        context: float tensor `(batch, context_length, hidden_dim)`.
        context_mask: bool tensor `(batch, context_length)`, True marks real tokens.
        padding_mask: Not looked at: padding is behind all words.

    Returns:
        float32 tensor `(batch, length, vocabulary_size)`: logits of the next word.

    Raises:
        ValueError: If `backbone` is no PaliGemma.

    Example:
        >>> backbone = keras_hub.models.PaliGemmaBackbone(
        ...     50, 4, 1, 2, 1, 8, 16, 4, 2, 2, 8, 1, 16)
        >>> decoder = kmmft.models.PaliGemmaDecoder(backbone)
        >>> real = np.ones((2, 3), bool)
        >>> decoder(np.ones((2, 3), int), np.ones((2, 3, 8)), real, real).shape
        TensorShape([2, 3, 50])

    References:
        - [Beyer et al., 2024](https://arxiv.org/abs/2407.07726), section 3 and
          figure 2.
    """

    # No longest text: places are relative.
    max_length = None

    def __init__(
        self,
        backbone: keras.Model,
        prompt_ids: Sequence[int] = (),
        name: str = "decoder",
        **kwargs,
    ):
        if not isinstance(backbone, keras_hub.models.PaliGemmaBackbone):
            raise ValueError(
                "`backbone` must be a keras_hub.models.PaliGemmaBackbone. Received: "
                f"{type(backbone).__name__}."
            )
        super().__init__(name=name, **{"dtype": backbone.dtype_policy, **kwargs})
        self.vocabulary_size = backbone.vocabulary_size
        self.hidden_dim = backbone.hidden_dim
        self.prompt_ids = list(prompt_ids)
        self._heads = (backbone.num_key_value_heads, backbone.head_dim)
        # === Layers ===
        self.token_embedding = backbone.token_embedding
        self.blocks = backbone.transformer_layers
        self.norm = backbone.layer_norm
        # === Config ===
        self._keep_config(backbone)

    def call(self, token_ids, context, context_mask, padding_mask=None, training=None):
        context, seen = self._read(context, context_mask)
        words = scaled_words(self.token_embedding, token_ids[:, 1:])
        x = ops.concatenate([context, words], axis=1)
        masks = _masks(seen, ops.shape(words)[1])
        for block in self.blocks:
            x = block(x, **masks)
        return self._logits(x[:, ops.shape(context)[1] - 1 :])

    def begin(
        self, context: tf.Tensor, context_mask: tf.Tensor, length: int
    ) -> tuple[dict, list[tf.Tensor]]:
        """As `CrossAttentionDecoder.begin`; the cache holds the context already."""
        context, seen = self._read(context, context_mask)
        batch, width = ops.shape(context)[0], ops.shape(context)[1]
        memory = {
            "last": context[:, -1:],
            "place": ops.ones((batch,), "int32") * (width - 1),
            **_masks(seen, length - 1),
        }
        places = width + length - 1
        empty = ops.zeros((batch, 2, places, *self._heads), self.compute_dtype)
        _, cache = self._cached_blocks(context, 0, memory, [empty] * len(self.blocks))
        return memory, cache

    def step(
        self, token_ids: tf.Tensor, index: tf.Tensor, memory: dict, cache: list
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """As `CrossAttentionDecoder.step`."""
        words = scaled_words(self.token_embedding, token_ids)
        words = ops.where(ops.equal(index, 0), memory["last"], words)
        place = memory["place"][0] + index
        x, cache = self._cached_blocks(words, place, memory, cache)
        return self._logits(x)[:, 0], cache

    def _read(self, context, mask):
        """The context with the prompt behind it and all padding before it."""
        context, mask = ops.cast(context, self.compute_dtype), ops.cast(mask, "bool")
        if self.prompt_ids:
            words = scaled_words(self.token_embedding, ops.array([self.prompt_ids]))
            batch, count = ops.shape(context)[0], len(self.prompt_ids)
            words = ops.broadcast_to(words, (batch, count, self.hidden_dim))
            context = ops.concatenate([context, words], axis=1)
            mask = ops.concatenate([mask, ops.ones((batch, count), "bool")], axis=1)
        width = ops.shape(mask)[1]
        places = ops.arange(width)
        order = ops.argsort(ops.where(mask, places + width, places), axis=1)
        return (
            tf.gather(context, order, batch_dims=1),
            tf.gather(mask, order, batch_dims=1),
        )

    def _cached_blocks(self, x, place, memory, cache):
        masks = {name: memory[name] for name in ("padding_mask", "response_mask")}
        after = []
        for block, own in zip(self.blocks, cache, strict=True):
            x, own = block(x, cache=own, cache_update_index=place, **masks)
            after.append(own)
        return x, after

    def _logits(self, x):
        return ops.cast(self.token_embedding(self.norm(x), reverse=True), "float32")

    def compute_output_shape(self, token_ids_shape, *_, **__):
        return (*token_ids_shape, self.vocabulary_size)

    def get_config(self) -> dict:
        return {**super().get_config(), "prompt_ids": self.prompt_ids}


def _masks(seen, length) -> dict:
    """What KerasHub's blocks are told: which tokens are real, which are written."""
    batch = ops.shape(seen)[0]
    written = ops.ones((batch, length), "bool")
    return {
        "padding_mask": ops.concatenate([seen, written], axis=1),
        "response_mask": ops.concatenate([ops.zeros_like(seen), written], axis=1),
    }
