"""The language model of a BLIP-2 with a Flan-T5, which writes about encoded tokens."""

from collections.abc import Sequence

import keras
import keras_hub
import tensorflow as tf
from keras import ops

from kmmft.encoders.blip2_repairs import build_head, gelu_as_pretrained
from kmmft.models.prompted_decoder import with_words
from kmmft.models.t5_decoder import T5Decoder


@keras.saving.register_keras_serializable("kmmft")
class Blip2T5Decoder(T5Decoder):
    """The Flan-T5 of a BLIP-2 backbone, without the image encoder's weights.

    Its encoder reads the context's tokens, the image's and perhaps a prompt's behind
    them, and its decoder writes about what it makes of them. With the same backbone's
    `kmmft.encoders.QFormerEncoder` and `PromptEncoder`, whose tokens it reads as they
    are, it is the whole BLIP-2. KerasHub's exact GELU becomes the approximation of T5's
    authors, in `backbone`, too.

    Args:
        backbone: A `keras_hub.models.BLIP2FlanT5`: a BLIP-2's `language_model`.
        prompt_ids: Token ids that are read after the context, which then must have no
            padding: a prompt that is the same for all examples.

    Call arguments:
        token_ids: As for `CrossAttentionDecoder`, and so are the others.

    Returns:
        float32 tensor `(batch, length, vocabulary_size)`: logits of the next word.

    Raises:
        ValueError: If `backbone` is another, or computes in float16.

    Example:
        >>> t5 = keras_hub.models.BLIP2FlanT5(50, 1, 2, 8, 16, 3, 8)
        >>> decoder = kmmft.models.Blip2T5Decoder(t5, prompt_ids=[7, 1])
        >>> real = np.ones((2, 3), bool)
        >>> decoder(np.ones((2, 4), int), np.ones((2, 3, 8)), real).shape
        TensorShape([2, 4, 50])

    References:
        - [Li et al., 2023](https://arxiv.org/abs/2301.12597), section 3.3.
    """

    def __init__(
        self,
        backbone: keras.Model,
        prompt_ids: Sequence[int] = (),
        name: str = "decoder",
        **kwargs,
    ):
        if not isinstance(backbone, keras_hub.models.BLIP2FlanT5):
            raise ValueError(
                "`backbone` must be a keras_hub.models.BLIP2FlanT5. Received: "
                f"{type(backbone).__name__}."
            )
        super().__init__(backbone.t5, name, **kwargs)
        self.prompt_ids = list(prompt_ids)
        self.head = build_head(backbone)
        gelu_as_pretrained(backbone)
        # === Config ===
        self._keep_config(backbone)

    def _take_layers(self, backbone):
        # In the order in which they are used, by which `layer_depths` counts.
        self.reading_dropout = backbone.encoder_embedding_dropout
        self.reading_blocks = backbone.encoder_transformer_layers
        self.reading_norm = backbone.encoder_layer_norm
        self.read_dropout = backbone.encoder_dropout
        super()._take_layers(backbone)

    def call(self, token_ids, context, context_mask, padding_mask=None, training=None):
        context, context_mask = self._read(context, context_mask, training)
        return super().call(token_ids, context, context_mask, padding_mask, training)

    def begin(
        self, context: tf.Tensor, context_mask: tf.Tensor, length: int
    ) -> tuple[dict, list[tf.Tensor]]:
        """As `CrossAttentionDecoder.begin`."""
        context, context_mask = self._read(context, context_mask)
        return super().begin(context, context_mask, length)

    def _read(self, context, mask, training=False):
        """What the encoder makes of the context and the prompt, and their mask."""
        x = ops.cast(context, self.compute_dtype)
        if self.prompt_ids:
            words = self.token_embedding(ops.array([self.prompt_ids]))
            x, mask = with_words(words, ops.shape(x)[1], x, mask)
        x, bias = self.reading_dropout(x, training=training), None
        for block in self.reading_blocks:
            x, bias = block(
                x,
                attention_mask=mask[:, None, :],
                position_bias=bias,
                use_causal_mask=False,
                training=training,
            )
        x = self.reading_norm(x)
        return self.read_dropout(x, training=training), mask

    def _logits(self, x, training=False):
        x = self.last_dropout(self.norm(x), training=training)
        return ops.cast(self.head(x), "float32")

    def get_config(self) -> dict:
        return {**super().get_config(), "prompt_ids": self.prompt_ids}
