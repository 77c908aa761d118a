"""Cross-attention that keeps tokens: each word reads what stands beside the text."""

import keras
from keras import ops

from kmmft.layers.attention_block import AttentionBlock
from kmmft.layers.fusion import check_positive


@keras.saving.register_keras_serializable("kmmft")
class TokenCrossAttention(keras.layers.Layer):
    """Lets each token of a text attend to the tokens of an image, or of anything else.

    For an answer at each token, such as a tag; `CrossAttentionFusion` gives one vector.
    A layer is a pre-norm cross-attention block, then a pre-norm self-attention block,
    as there; a layer norm ends them. Masked tokens are never attended to, whatever they
    hold (NaN included, in `context`). A context without any real token tells nothing:
    all that is read of it are biases.

    Args:
        num_layers: Number of layers.
        num_heads: Number of attention heads. Must divide the width of `tokens`.
        dropout_rate: Dropout inside the blocks.

    Call arguments:
        tokens: float tensor `(batch, length, dim)`.
        context: float tensor `(batch, context_length, context_dim)`, projected to
            `dim`.
        tokens_mask: optional bool tensor `(batch, length)`, True marks real tokens.
        context_mask: optional bool tensor `(batch, context_length)`, likewise.

    Returns:
        float tensor `(batch, length, dim)`.

    Raises:
        ValueError: If `num_layers` is not positive, or `num_heads` does not divide
            `dim`.

    Example:
        >>> layer = kmmft.layers.TokenCrossAttention(num_heads=2)
        >>> layer(np.ones((2, 3, 8)), np.ones((2, 9, 6))).shape
        TensorShape([2, 3, 8])

    References:
        - [Yu et al., 2020](https://aclanthology.org/2020.acl-main.306), section 3
          (words of a tweet that read its image).
    """

    def __init__(
        self,
        num_layers: int = 1,
        num_heads: int = 4,
        dropout_rate: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive("num_layers", num_layers)
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.dropout_rate = dropout_rate

    def build(self, tokens_shape, context_shape):
        dim = tokens_shape[-1]
        policy = self.dtype_policy
        # === Layers ===
        self.projection = keras.layers.Dense(dim, dtype=policy, name="projection")
        self.projection.build(context_shape)
        self.blocks = {}
        for index in range(self.num_layers):
            for kind in ("cross", "self"):
                name = f"{kind}_{index}"
                self.blocks[name] = AttentionBlock(
                    self.num_heads,
                    self.dropout_rate,
                    cross=kind == "cross",
                    dtype=policy,
                    name=name,
                )
                self.blocks[name].build((None, None, dim))
        self.norm = keras.layers.LayerNormalization(
            epsilon=1e-6, dtype=policy, name="norm"
        )
        self.norm.build((None, None, dim))

    def call(self, tokens, context, tokens_mask=None, context_mask=None, training=None):
        if context_mask is not None:
            context = ops.where(context_mask[..., None], context, 0.0)
        context = self.projection(context)
        x = tokens
        for index in range(self.num_layers):
            x = self.blocks[f"cross_{index}"](
                x, context=context, key_mask=context_mask, training=training
            )
            x = self.blocks[f"self_{index}"](x, key_mask=tokens_mask, training=training)
        return self.norm(x)

    # === Shapes and config ===
    def compute_output_shape(self, tokens_shape, context_shape) -> tuple:
        return tuple(tokens_shape)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "dropout_rate": self.dropout_rate,
        }
