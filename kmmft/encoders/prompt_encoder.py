"""How a pretrained writer reads its prompt."""

from collections.abc import Callable

import keras
import keras_hub
import tensorflow as tf
from keras import ops

from kmmft.encoders.encoder_half import EncoderHalf


def scaled_words(embedding: keras.layers.Layer, token_ids):
    """Gemma's vectors of words: what the table holds, times the root of its width.

    Args:
        embedding: The table.
        token_ids: int tensor `(batch, length)`.

    Returns:
        float tensor `(batch, length, hidden_dim)`.
    """
    words = embedding(token_ids)
    return words * ops.cast(ops.sqrt(embedding.output_dim), words.dtype)


def _as_they_are(embedding, token_ids):
    return embedding(token_ids)


# The words' vectors, whether a start token stands before a prompt, and what ends it, as
# in `TextFamily`. Gemma 3's prompt goes on behind what is read here.
_KINDS: dict[type, tuple[Callable, bool, str | None]] = {
    keras_hub.models.PaliGemmaBackbone: (scaled_words, True, "\n"),
    keras_hub.models.Gemma3Backbone: (scaled_words, False, ""),
    keras_hub.models.BLIP2CustomOPT: (_as_they_are, True, ""),
    keras_hub.models.BLIP2FlanT5: (_as_they_are, False, None),
}


@keras.saving.register_keras_serializable("kmmft")
class PromptEncoder(EncoderHalf):
    """The words' vectors of a pretrained writer, without its other weights.

    What makes more of them is the decoder, such as `kmmft.models.PaliGemmaDecoder`,
    which reads them beside the image's. Shares its layer with `backbone`. As the
    backbone of a `TextEncoder` it makes prompts of texts: what stands before each text,
    the text, and what stands after it; of a PaliGemma between `<bos>` and a line break,
    of a BLIP-2 behind OPT's start token or before T5's end token.

    Args:
        backbone: A `keras_hub.models.PaliGemmaBackbone` or `Gemma3Backbone`, or a
            BLIP-2's `language_model`: `BLIP2CustomOPT` or `BLIP2FlanT5`.
        before: Stands before each text, such as `"answer en "`.
        after: Stands after each text.

    Call arguments:
        inputs: dict of `token_ids` int `(batch, length)` and `padding_mask`
            `(batch, length)`, which is not looked at.

    Returns:
        float tensor `(batch, length, hidden_dim)`.

    Raises:
        ValueError: If `backbone` is another.

    Example:
        >>> pali_gemma = keras_hub.models.PaliGemmaBackbone(
        ...     50, 4, 1, 2, 1, 8, 16, 4, 2, 2, 8, 1, 16)
        >>> encoder = kmmft.encoders.PromptEncoder(pali_gemma, before="answer en ")
        >>> encoder.complete(tf.constant(["where?"])).numpy()
        array([b'answer en where?'], dtype=object)
        >>> ids = np.ones((2, 5), "int32")
        >>> encoder({"token_ids": ids, "padding_mask": ids}).shape
        TensorShape([2, 5, 8])

    References:
        - [Beyer et al., 2024](https://arxiv.org/abs/2407.07726), section 3.1.
        - [Gemma Team, 2025](https://arxiv.org/abs/2503.19786), section 3.
    """

    def __init__(
        self, backbone: keras.Model, before: str = "", after: str = "", **kwargs
    ):
        kind = next((k for k in _KINDS if isinstance(backbone, k)), None)
        if kind is None:
            raise ValueError(
                "`backbone` must be a PaliGemmaBackbone, a Gemma3Backbone, or a "
                "BLIP-2's language model. Received: backbone of type "
                f"{type(backbone).__name__}"
            )
        words, start, end_piece = _KINDS[kind]
        # === Functional model ===
        token_ids = keras.Input((None,), dtype="int32", name="token_ids")
        padding_mask = keras.Input((None,), dtype="int32", name="padding_mask")
        super().__init__(
            inputs={"token_ids": token_ids, "padding_mask": padding_mask},
            outputs=words(backbone.token_embedding, token_ids),
            **kwargs,
        )
        # === Config ===
        self._keep_config(backbone)
        self.before = before
        self.after = after
        self.packing = {"start": start, "end_piece": end_piece}

    def complete(self, texts: tf.Tensor) -> tf.Tensor:
        """Strings with what stands before and after them."""
        return tf.strings.join([self.before, texts, self.after])

    def get_config(self) -> dict:
        return {**super().get_config(), "before": self.before, "after": self.after}
