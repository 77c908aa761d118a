"""A transformer that writes while it looks at encoded tokens."""

import keras
import keras_hub
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable("kmmft")
class CrossAttentionDecoder(keras.layers.Layer):
    """Pre-norm transformer decoder with cross-attention, from scratch.

    Each block attends to what is written so far, then to the context, then applies a
    feed-forward. Below them there may be blocks that read the text alone. Padding and
    padded context never count. Input and output words share their embeddings.

    Args:
        vocabulary_size: Number of words.
        hidden_dim: Width of the blocks; the context is that wide too.
        num_layers: Number of blocks.
        num_heads: Number of attention heads. Must divide `hidden_dim`.
        max_length: Longest text in tokens.
        intermediate_dim: Width of the feed-forward; default: 4 times `hidden_dim`.
        dropout_rate: Dropout in the blocks and on the embeddings.
        num_text_layers: Number of blocks below that do not see the context.

    Call arguments:
        token_ids: int tensor `(batch, length)`.
        context: float tensor `(batch, context_length, hidden_dim)`.
        context_mask: bool tensor `(batch, context_length)`, True marks real tokens.
        padding_mask: bool tensor `(batch, length)`, True marks real tokens.

    Returns:
        float32 tensor `(batch, length, vocabulary_size)`: logits of the next word.

    Raises:
        ValueError: If `num_heads` does not divide `hidden_dim`.

    Example:
        >>> decoder = kmmft.models.CrossAttentionDecoder(50, 8, 1, 2, max_length=6)
        >>> real = np.ones((2, 3), bool)
        >>> decoder(np.ones((2, 3), int), np.ones((2, 3, 8)), real, real).shape
        TensorShape([2, 3, 50])

    References:
        - [Vaswani et al., 2017](https://arxiv.org/abs/1706.03762), section 3.
        - [Press and Wolf, 2017](https://arxiv.org/abs/1608.05859) (shared embeddings).
    """

    def __init__(
        self,
        vocabulary_size: int,
        hidden_dim: int,
        num_layers: int,
        num_heads: int,
        max_length: int,
        intermediate_dim: int | None = None,
        dropout_rate: float = 0.0,
        num_text_layers: int = 0,
        name: str = "decoder",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        if hidden_dim % num_heads:
            raise ValueError(
                "`num_heads` must divide `hidden_dim`. Received: "
                f"num_heads={num_heads}, hidden_dim={hidden_dim}."
            )
        self.vocabulary_size = vocabulary_size
        self.hidden_dim = hidden_dim
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.max_length = max_length
        self.intermediate_dim = intermediate_dim
        self.dropout_rate = dropout_rate
        self.num_text_layers = num_text_layers
        self.head_dim = hidden_dim // num_heads

    def build(self, token_ids_shape, *_):
        # === Layers ===
        policy, dim = self.dtype_policy, self.hidden_dim
        self.embedding = keras_hub.layers.TokenAndPositionEmbedding(
            self.vocabulary_size,
            self.max_length,
            dim,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=0.02),
            dtype=policy,
            name="embedding",
        )
        self.embedding.build((None, None))
        self.dropout = keras.layers.Dropout(self.dropout_rate, dtype=policy)
        self.text_blocks = [
            self._block(f"text_block_{number}")
            for number in range(self.num_text_layers)
        ]
        for block in self.text_blocks:
            block.build((None, None, dim))
        self.blocks = [
            self._block(f"block_{number}") for number in range(self.num_layers)
        ]
        for block in self.blocks:
            block.build((None, None, dim), (None, None, dim))
        self.norm = keras.layers.LayerNormalization(dtype=policy, name="norm")
        self.norm.build((None, None, dim))

    def _block(self, name: str) -> keras.layers.Layer:
        return keras_hub.layers.TransformerDecoder(
            self.intermediate_dim or 4 * self.hidden_dim,
            self.num_heads,
            dropout=self.dropout_rate,
            activation="gelu",
            normalize_first=True,
            dtype=self.dtype_policy,
            name=name,
        )

    def call(self, token_ids, context, context_mask, padding_mask=None, training=None):
        x = self.dropout(self._embed(token_ids), training=training)
        x = self.read(x, padding_mask, training)
        return self.write(x, context, context_mask, padding_mask, training)

    def read(self, x, padding_mask=None, training=None):
        """Runs embedded words `(batch, length, hidden_dim)` through the text blocks."""
        for block in self.text_blocks:
            x = block(x, decoder_padding_mask=padding_mask, training=training)
        return x

    def write(self, x, context, context_mask, padding_mask=None, training=None):
        """Logits of the next words, from what `read` returned."""
        for block in self.blocks:
            x = block(
                x,
                context,
                decoder_padding_mask=padding_mask,
                encoder_padding_mask=context_mask,
                training=training,
            )
        return self._logits(x)

    def begin(
        self, context: tf.Tensor, context_mask: tf.Tensor, length: int
    ) -> tuple[dict, list[tf.Tensor]]:
        """What generation needs of a context, computed once.

        Args:
            context: As in the call.
            context_mask: As in the call.
            length: Longest text in tokens.

        Returns:
            The memory, which stays as it is, and the empty cache of `step`. The first
            axis of all tensors is the batch.
        """
        batch, width = ops.shape(context)[0], ops.shape(context)[1]

        def zeros(places):
            heads = (self.num_heads, self.head_dim)
            return ops.zeros((batch, 2, places, *heads), self.compute_dtype)

        cache = [zeros(length) for _ in (*self.text_blocks, *self.blocks)]
        memory = {"context": context, "mask": context_mask}
        memory["keys"] = [zeros(width) for _ in self.blocks]
        # Any word will do: only the context's keys and values are kept.
        x = self._embed(ops.zeros((batch, 1), "int32"))
        own = cache[self.num_text_layers :]
        *_, memory["keys"] = self._cached_blocks(x, 0, memory, own, fill=True)
        return memory, cache

    def step(
        self, token_ids: tf.Tensor, index: tf.Tensor, memory: dict, cache: list
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Reads one more token.

        Args:
            token_ids: int tensor `(batch, 1)`.
            index: Place of the token in the text, from 0.
            memory: From `begin`.
            cache: From `begin`, or the step before.

        Returns:
            float32 logits of the next word `(batch, vocabulary_size)`, and the cache.
        """
        x = self._embed(token_ids, index)
        after = []
        below = self.num_text_layers
        for block, own in zip(self.text_blocks, cache[:below], strict=True):
            x, own = block(
                x, self_attention_cache=own, self_attention_cache_update_index=index
            )
            after.append(own)
        x, own, _ = self._cached_blocks(x, index, memory, cache[below:])
        return self._logits(x)[:, 0], after + own

    def _cached_blocks(self, x, index, memory, cache, fill=False):
        """Runs one word through the blocks: its state, the caches, the context's keys.

        With `fill` the context's keys and values are computed, else read.
        """
        after, read = [], []
        for block, own, keys in zip(self.blocks, cache, memory["keys"], strict=True):
            x, own, keys = block(
                x,
                memory["context"],
                encoder_padding_mask=memory["mask"],
                self_attention_cache=own,
                self_attention_cache_update_index=index,
                cross_attention_cache=keys,
                cross_attention_cache_update_index=0 if fill else None,
            )
            after.append(own)
            read.append(keys)
        return x, after, read

    def _embed(self, token_ids, index=0):
        return self.embedding(token_ids, start_index=index)

    def _logits(self, x):
        x = self.embedding.token_embedding(self.norm(x), reverse=True)
        return ops.cast(x, "float32")

    def compute_output_shape(self, token_ids_shape, *_, **__):
        return (*token_ids_shape, self.vocabulary_size)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "hidden_dim": self.hidden_dim,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "max_length": self.max_length,
            "intermediate_dim": self.intermediate_dim,
            "dropout_rate": self.dropout_rate,
            "num_text_layers": self.num_text_layers,
        }
