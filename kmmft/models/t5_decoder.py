"""T5's own decoder, over any encoded tokens."""

import keras
import keras_hub
from keras import ops

from kmmft.models.cross_attention_decoder import CrossAttentionDecoder
from kmmft.models.pretrained_decoder import PretrainedDecoder


@keras.saving.register_keras_serializable("kmmft")
class T5Decoder(PretrainedDecoder, CrossAttentionDecoder):
    """The decoder half of a T5 backbone, with its pretrained weights.

    As `BartDecoder`: with the same backbone's encoder half it is the whole T5. As in
    pretraining, the padding token stands before a text, which may be of any length.

    Args:
        backbone: A `keras_hub.models.T5Backbone`.

    Call arguments:
        token_ids: As for `CrossAttentionDecoder`, and so are the others.

    Returns:
        float32 tensor `(batch, length, vocabulary_size)`: logits of the next word.

    Raises:
        ValueError: If `backbone` is no T5, or computes in float16.

    Example:
        >>> backbone = keras_hub.models.T5Backbone(50, 1, 2, 8, 16)
        >>> decoder = kmmft.models.T5Decoder(backbone)
        >>> real = np.ones((2, 3), bool)
        >>> decoder(np.ones((2, 3), int), np.ones((2, 3, 8)), real, real).shape
        TensorShape([2, 3, 50])

    References:
        - [Raffel et al., 2019](https://arxiv.org/abs/1910.10683), section 2.1.
    """

    start_tokens = ("pad",)

    def __init__(self, backbone: keras.Model, name: str = "decoder", **kwargs):
        if not isinstance(backbone, keras_hub.models.T5Backbone):
            raise ValueError(
                "`backbone` must be a keras_hub.models.T5Backbone. Received: "
                f"{type(backbone).__name__}."
            )
        if backbone.dtype_policy.compute_dtype == "float16":
            # KerasHub's mask, -1e9, becomes minus infinity there, and all results NaN.
            raise ValueError(
                "A T5 does not work in float16. Received: a backbone with dtype policy "
                f"{backbone.dtype_policy.name!r}. Take mixed_bfloat16 or float32."
            )
        super().__init__(
            backbone.vocabulary_size,
            backbone.hidden_dim,
            backbone.num_layers,
            backbone.num_heads,
            None,
            backbone.intermediate_dim,
            backbone.dropout,
            name=name,
            **{"dtype": backbone.dtype_policy, **kwargs},
        )
        self.head_dim = backbone.key_value_dim or self.head_dim
        self.tied = backbone.tie_embedding_weights
        self._take_layers(backbone)
        # === Config ===
        self._keep_config(backbone)

    def _take_layers(self, backbone):
        self.token_embedding = backbone.token_embedding
        self.dropout = backbone.decoder_embedding_dropout
        self.text_blocks = []
        self.blocks = backbone.decoder_transformer_layers
        self.norm = backbone.decoder_layer_norm
        self.last_dropout = backbone.decoder_dropout

    def write(self, x, context, context_mask, padding_mask=None, training=None):
        if padding_mask is None:
            padding_mask = ops.ones_like(x[..., 0], "bool")
        bias = None
        for block in self.blocks:
            x, bias = block(
                x,
                attention_mask=padding_mask[:, None, :],
                position_bias=bias,
                encoder_hidden_states=context,
                encoder_attention_mask=context_mask[:, None, :],
                use_causal_mask=True,
                training=training,
            )
        return self._logits(x, training)

    def _cached_blocks(self, x, index, memory, cache, fill=False):
        after, read, bias = [], [], None
        for block, own, keys in zip(self.blocks, cache, memory["keys"], strict=True):
            x, bias, own, keys = block(
                x,
                position_bias=bias,
                encoder_hidden_states=memory["context"],
                encoder_attention_mask=memory["mask"][:, None, :],
                use_causal_mask=True,
                self_attention_cache=own,
                self_attention_cache_update_index=index,
                cross_attention_cache=keys,
                cross_attention_cache_update_index=0 if fill else None,
                training=False,
            )
            after.append(own)
            read.append(keys)
        return x, after, read

    def _embed(self, token_ids, index=0):
        return self.token_embedding(token_ids)

    def _logits(self, x, training=False):
        x = self.last_dropout(self.norm(x), training=training)
        if self.tied:
            x = x * self.hidden_dim**-0.5
        return ops.cast(self.token_embedding(x, reverse=True), "float32")
