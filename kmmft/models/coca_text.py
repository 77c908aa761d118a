"""The text side of CoCa: a decoder's lower half as an encoder of texts."""

import keras
import tensorflow as tf
from keras import ops

from kmmft.models.cross_attention_decoder import CrossAttentionDecoder
from kmmft.models.token_texts import TokenTexts


class CoCaText(keras.Model):
    """Reads texts with the lower half of a decoder, which does not see the image.

    A learnt token behind the text looks back on all of it: its vector stands for the
    text. The words before it do not see it, so that one pass does for both losses.

    Args:
        decoder: Decoder with `num_text_layers`.
        texts: Makes the token ids.

    Call arguments:
        inputs: dict of `token_ids` int `(batch, max_length)` and `padding_mask` bool
            `(batch, max_length)`, True marks real tokens.

    Returns:
        dict of `pooled` float `(batch, dim)`, `tokens` float `(batch, max_length, dim)`
        and `mask` bool `(batch, max_length)`.
    """

    def __init__(self, decoder: CrossAttentionDecoder, texts: TokenTexts):
        token_ids = keras.Input((texts.max_length,), dtype="int32", name="token_ids")
        mask = keras.Input((texts.max_length,), dtype="bool", name="padding_mask")
        tokens, pooled = LowerHalf(decoder)(token_ids, mask)
        super().__init__(
            inputs={"token_ids": token_ids, "padding_mask": mask},
            outputs={"pooled": pooled, "tokens": tokens, "mask": mask},
            name="text_encoder",
        )
        self.texts = texts
        self.sequence_length = texts.max_length

    def preprocess(self, raw: tf.Tensor) -> dict[str, tf.Tensor]:
        """Strings `(batch,)` to the inputs; pure TensorFlow."""
        token_ids, padding_mask = self.texts.pack(raw)
        return {"token_ids": token_ids, "padding_mask": padding_mask}


class LowerHalf(keras.layers.Layer):
    """A decoder's text blocks as a layer: the words' states, and the text's vector."""

    def __init__(self, decoder: CrossAttentionDecoder):
        super().__init__(name="text_half", dtype=decoder.dtype_policy)
        self.decoder = decoder

    def build(self, token_ids_shape, *_):
        if not self.decoder.built:
            self.decoder.build((None, None))
        self.class_token = self.add_weight(
            shape=(1, 1, self.decoder.hidden_dim),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="class_token",
        )

    def call(self, token_ids, padding_mask, training=None):
        decoder = self.decoder
        x = decoder.embedding(token_ids)
        last = ops.cast(self.class_token, x.dtype)
        last = ops.broadcast_to(last, (ops.shape(x)[0], *last.shape[1:]))
        x = decoder.dropout(ops.concatenate([x, last], axis=1), training=training)
        real = ops.ones_like(padding_mask[:, :1])
        mask = ops.concatenate([padding_mask, real], axis=1)
        x = decoder.read(x, mask, training)
        return x[:, :-1], x[:, -1]

    def compute_output_shape(self, token_ids_shape, *_, **__):
        batch, dim = token_ids_shape[0], self.decoder.hidden_dim
        return (*token_ids_shape, dim), (batch, dim)


class UpperHalf(keras.layers.Layer):
    """A decoder's other blocks as a layer: logits of each next word."""

    def __init__(self, decoder: CrossAttentionDecoder):
        super().__init__(name="caption_half", dtype=decoder.dtype_policy)
        self.decoder = decoder

    def build(self, *_):
        if not self.decoder.built:
            self.decoder.build((None, None))

    def call(self, tokens, context, padding_mask, training=None):
        seen = ops.ones_like(context[..., 0], "bool")
        # The last place has no next word.
        return self.decoder.write(
            tokens[:, :-1], context, seen, padding_mask[:, :-1], training
        )

    def compute_output_shape(self, tokens_shape, *_, **__):
        batch, length, _ = tokens_shape
        return (batch, length - 1, self.decoder.vocabulary_size)
