"""The pre-norm attention block of the fusion layers."""

import keras
from keras import ops


class AttentionBlock(keras.layers.Layer):
    """Attention and a feed-forward, each with LayerNorm before and a residual.

    `x + Attention(norm(x), norm(context))`, then `x + FeedForward(norm(x))`, the
    feed-forward four times as wide. Without `context` it is self-attention.

    Args:
        num_heads: Number of attention heads. Must divide `dim`.
        dropout_rate: Dropout on attention weights and on both branches.
        cross: Whether the block is called with a `context`.

    Call arguments:
        x: float tensor `(batch, length, dim)`.
        context: float tensor `(batch, context_length, dim)`, what `x` attends to.
        key_mask: bool tensor, True marks what may be attended to: of `context`'s
            length where there is one, else of `x`'s.

    Returns:
        float tensor `(batch, length, dim)`.

    References:
        - [Xiong et al., 2020](https://arxiv.org/abs/2002.04745), pre-norm.
    """

    def __init__(self, num_heads, dropout_rate=0.0, cross=False, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.dropout_rate = dropout_rate
        self.cross = cross

    def build(self, x_shape):
        dim = x_shape[-1]
        if dim % self.num_heads:
            raise ValueError(
                "`num_heads` must divide `hidden_dim`. Received: "
                f"num_heads={self.num_heads}, hidden_dim={dim}"
            )
        policy = self.dtype_policy
        self.attention = keras.layers.MultiHeadAttention(
            self.num_heads,
            dim // self.num_heads,
            dropout=self.dropout_rate,
            dtype=policy,
            name="attention",
        )
        self.attention.build((None, None, dim), (None, None, dim))
        self.hidden = keras.layers.Dense(
            4 * dim, activation="gelu", dtype=policy, name="hidden"
        )
        self.hidden.build((None, None, dim))
        self.output_projection = keras.layers.Dense(
            dim, dtype=policy, name="output_projection"
        )
        self.output_projection.build((None, None, 4 * dim))
        self.dropout = keras.layers.Dropout(self.dropout_rate, dtype=policy)
        self.attention_norm = self._norm("attention_norm", dim)
        self.context_norm = self._norm("context_norm", dim) if self.cross else None
        self.output_norm = self._norm("output_norm", dim)

    def _norm(self, name, dim):
        norm = keras.layers.LayerNormalization(
            epsilon=1e-6, dtype=self.dtype_policy, name=name
        )
        norm.build((None, None, dim))
        return norm

    def call(self, x, context=None, key_mask=None, training=None):
        normed = self.attention_norm(x)
        attended = self.attention(
            normed,
            self.context_norm(context) if self.cross else normed,
            attention_mask=None if key_mask is None else ops.expand_dims(key_mask, 1),
            training=training,
        )
        x = x + self.dropout(attended, training=training)
        fed = self.output_projection(self.hidden(self.output_norm(x)))
        return x + self.dropout(fed, training=training)
