"""BART's own decoder, over any encoded tokens."""

import keras
import keras_hub
from keras import ops

from kmmft.models.cross_attention_decoder import CrossAttentionDecoder
from kmmft.models.pretrained_decoder import PretrainedDecoder


@keras.saving.register_keras_serializable("kmmft")
class BartDecoder(PretrainedDecoder, CrossAttentionDecoder):
    """The decoder half of a BART backbone, with its pretrained weights.

    With the same backbone's encoder half, whose tokens it reads as they are, it is the
    whole BART; with other encoders it is a pretrained decoder that learns to read them.
    Both halves share the words' vectors, also after saving and loading. As in
    pretraining, `</s>` and `<s>` stand before a text.

    Args:
        backbone: A `keras_hub.models.BartBackbone`.

    Call arguments:
        token_ids: As for `CrossAttentionDecoder`, and so are the others.

    Returns:
        float32 tensor `(batch, length, vocabulary_size)`: logits of the next word.

    Raises:
        ValueError: If `backbone` is no BART.

    Example:
        >>> backbone = keras_hub.models.BartBackbone(50, 1, 2, 8, 16)
        >>> decoder = kmmft.models.BartDecoder(backbone)
        >>> real = np.ones((2, 3), bool)
        >>> decoder(np.ones((2, 3), int), np.ones((2, 3, 8)), real, real).shape
        TensorShape([2, 3, 50])

    References:
        - [Lewis et al., 2019](https://arxiv.org/abs/1910.13461), section 2.
    """

    start_tokens = ("end", "start")

    def __init__(self, backbone: keras.Model, name: str = "decoder", **kwargs):
        if not isinstance(backbone, keras_hub.models.BartBackbone):
            raise ValueError(
                "`backbone` must be a keras_hub.models.BartBackbone. Received: "
                f"{type(backbone).__name__}."
            )
        super().__init__(
            backbone.vocabulary_size,
            backbone.hidden_dim,
            backbone.num_layers,
            backbone.num_heads,
            backbone.max_sequence_length,
            backbone.intermediate_dim,
            backbone.dropout,
            name=name,
            **{"dtype": backbone.dtype_policy, **kwargs},
        )
        # === Layers ===
        self.token_embedding = backbone.token_embedding
        self.position_embedding = backbone.decoder_position_embedding
        self.embedding_norm = backbone.decoder_embeddings_layer_norm
        self.dropout = backbone.decoder_embeddings_dropout
        self.text_blocks = []
        self.blocks = backbone.decoder_transformer_layers
        # === Config ===
        self._keep_config(backbone)

    def _embed(self, token_ids, index=0):
        words = self.token_embedding(token_ids)
        return self.embedding_norm(
            words + self.position_embedding(words, start_index=index)
        )

    def _logits(self, x):
        return ops.cast(self.token_embedding(x, reverse=True), "float32")
