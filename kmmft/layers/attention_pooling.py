"""Attention pooling: learnt queries read the tokens."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("kmmft")
class AttentionPooling(keras.layers.Layer):
    """Pools tokens by multi-head attention from one learnt query, or from several.

    Use it where no fixed rule fits, such as the patch tokens of an image encoder.
    It computes `H = LayerNorm(S + Multihead(S, Z, Z))` and returns
    `LayerNorm(H + FeedForward(H))`, with the learnt queries `S` and the tokens `Z`.
    Padding never counts, whatever it holds, and an example without any real token
    gives zeros.

    Args:
        num_heads: Number of attention heads. Must divide the tokens' width.
        hidden_dim: Width of the feed-forward's hidden layer. `None` takes the
            tokens' width.
        activation: Activation of the feed-forward's hidden layer.
        dropout_rate: Dropout on the attention weights.
        num_queries: Number of queries, each of which gives a vector: as many tokens as
            are asked for, however many there were. `None`: one vector.

    Call arguments:
        tokens: float tensor `(batch, length, dim)`.
        mask: optional bool tensor `(batch, length)`, True marks real tokens.

    Returns:
        float tensor `(batch, dim)`; with `num_queries`, `(batch, num_queries, dim)`.

    Raises:
        ValueError: If `num_heads` does not divide the tokens' width, or `num_queries`
            is not positive.

    Example:
        >>> tokens = np.ones((2, 5, 8))
        >>> kmmft.layers.AttentionPooling(num_heads=2)(tokens).shape
        TensorShape([2, 8])

    References:
        - [Lee et al., 2019](https://arxiv.org/abs/1810.00825), Set Transformer:
          the multihead attention block, eqs. 6-7, with one seed vector
          (pooling by multihead attention, eq. 11, without the first rFF,
          as in the authors' code).
        - [Yu et al., 2022](https://arxiv.org/abs/2205.01917), section 3.2, attentional
          poolers of one and of many queries.
    """

    def __init__(
        self,
        num_heads: int,
        hidden_dim: int | None = None,
        activation: str = "relu",
        dropout_rate: float = 0.0,
        num_queries: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if num_queries is not None and num_queries < 1:
            raise ValueError(
                "`num_queries` must be positive or None. "
                f"Received: num_queries={num_queries}."
            )
        self.num_queries = num_queries
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.activation = keras.activations.get(activation)
        self.dropout_rate = dropout_rate
        self.supports_masking = True

    def build(self, tokens_shape):
        dim = tokens_shape[-1]
        if dim % self.num_heads:
            raise ValueError(
                "`num_heads` must divide the tokens' width. "
                f"Received: num_heads={self.num_heads}, tokens of shape "
                f"{tokens_shape}. Choose a divisor of {dim}."
            )
        # === Layers ===
        policy = self.dtype_policy
        self.query = self.add_weight(
            shape=(1, self.num_queries or 1, dim),
            initializer="glorot_uniform",
            name="query",
        )
        self.attention = keras.layers.MultiHeadAttention(
            self.num_heads,
            dim // self.num_heads,
            dropout=self.dropout_rate,
            dtype=policy,
            name="attention",
        )
        self.attention_norm = keras.layers.LayerNormalization(
            epsilon=1e-6, dtype=policy, name="attention_norm"
        )
        self.hidden = keras.layers.Dense(
            self.hidden_dim or dim, self.activation, dtype=policy, name="hidden"
        )
        self.output_projection = keras.layers.Dense(
            dim, dtype=policy, name="output_projection"
        )
        self.output_norm = keras.layers.LayerNormalization(
            epsilon=1e-6, dtype=policy, name="output_norm"
        )
        self.attention.build((None, 1, dim), tokens_shape)
        self.attention_norm.build((None, 1, dim))
        self.hidden.build((None, 1, dim))
        self.output_projection.build((None, 1, self.hidden_dim or dim))
        self.output_norm.build((None, 1, dim))

    def call(self, tokens, mask=None, training=None):
        mask = ops.ones_like(tokens[..., 0], "bool") if mask is None else mask
        mask = ops.cast(mask, "bool")
        # A weight of zero does not silence NaN, so padding is zeroed as well.
        tokens = ops.where(ops.expand_dims(mask, -1), tokens, 0.0)
        query = ops.cast(self.query, self.compute_dtype)
        query = ops.broadcast_to(query, (ops.shape(tokens)[0], *query.shape[1:]))
        attended = self.attention(
            query, tokens, attention_mask=ops.expand_dims(mask, 1), training=training
        )
        pooled = self.attention_norm(query + attended)
        pooled = self.output_norm(pooled + self.output_projection(self.hidden(pooled)))
        pooled = ops.where(ops.any(mask, axis=1)[:, None, None], pooled, 0.0)
        return pooled[:, 0] if self.num_queries is None else pooled

    def compute_mask(self, inputs, previous_mask=None):
        return None

    def compute_output_shape(self, tokens_shape) -> tuple:
        if self.num_queries is None:
            return (tokens_shape[0], tokens_shape[-1])
        return (tokens_shape[0], self.num_queries, tokens_shape[-1])

    # === Config ===
    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
            "activation": keras.activations.serialize(self.activation),
            "dropout_rate": self.dropout_rate,
            "num_queries": self.num_queries,
        }
