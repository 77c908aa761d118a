"""The language model of a BLIP-2 with an OPT, which writes about encoded tokens."""

from collections.abc import Sequence

import keras
import keras_hub
import tensorflow as tf
from keras import ops

from kmmft.models.cached_blocks import cached_blocks
from kmmft.models.prompted_decoder import PromptedDecoder


@keras.saving.register_keras_serializable("kmmft")
class Blip2OptDecoder(PromptedDecoder):
    """The OPT of a BLIP-2 backbone, without the image encoder's weights.

    It reads the context's tokens, the image's and perhaps a prompt's behind them, and
    writes after them. With the same backbone's `kmmft.encoders.QFormerEncoder` and
    `PromptEncoder`, whose tokens it reads as they are, it is the whole BLIP-2. Padding
    in the context has no place: each token's is the number of real ones before it.

    The first word is written in the place of the context's last token. So a text's
    start token stands for that token: it is given, but its own vector is never read. A
    line break ends a text, so those within a text become spaces.

    Args:
        backbone: A `keras_hub.models.BLIP2CustomOPT`: a BLIP-2's `language_model`.
        prompt_ids: Token ids that are read after the context: a prompt that is the
            same for all examples.
        follows_words: Whether a text goes on behind words of a prompt.

    Call arguments:
        token_ids: As for `PaliGemmaDecoder`, and so are the others.

    Returns:
        float32 tensor `(batch, length, vocabulary_size)`: logits of the next word.

    Raises:
        ValueError: If `backbone` is another, or the sequence too long for it.

    Example:
        >>> opt = keras_hub.models.BLIP2CustomOPT(50, 1, 2, 8, 16, 3, 0.0, 20, 8)
        >>> decoder = kmmft.models.Blip2OptDecoder(opt, prompt_ids=[2])
        >>> real = np.ones((2, 3), bool)
        >>> decoder(np.ones((2, 4), int), np.ones((2, 3, 8)), real).shape
        TensorShape([2, 4, 50])

    References:
        - [Li et al., 2023](https://arxiv.org/abs/2301.12597), section 3.3.
        - [Zhang et al., 2022](https://arxiv.org/abs/2205.01068) (OPT).
    """

    written = {"padding_mask": True}
    step_marks = ("padding_mask",)
    # All places are counted, not only the text's; see `_positions`.
    max_length = None
    # OPT's table of places begins with two of which none is used.
    _unused_places = 2

    def __init__(
        self,
        backbone: keras.Model,
        prompt_ids: Sequence[int] = (),
        follows_words: bool = False,
        name: str = "decoder",
        **kwargs,
    ):
        if not isinstance(backbone, keras_hub.models.BLIP2CustomOPT):
            raise ValueError(
                "`backbone` must be a keras_hub.models.BLIP2CustomOPT. Received: "
                f"{type(backbone).__name__}."
            )
        embeddings = backbone.embeddings_layer
        super().__init__(name=name, **{"dtype": embeddings.dtype_policy, **kwargs})
        self.vocabulary_size = backbone.vocabulary_size
        self.hidden_dim = backbone.hidden_dim
        self.longest = backbone.max_sequence_length
        heads = backbone.num_heads
        self._heads = (heads, self.hidden_dim // heads)
        self.prompt_ids = list(prompt_ids)
        self.follows_words = follows_words
        # === Layers ===
        self.token_embedding = embeddings.token_embedding
        self.position_embedding = embeddings.position_embedding
        self.blocks = backbone.transformer_layers
        self.norm = backbone.layer_norm
        # === Config ===
        self._keep_config(backbone)

    def clean(self, texts: tf.Tensor) -> tf.Tensor:
        """Texts as they go on behind a prompt: a space before, and no line breaks."""
        texts = tf.strings.strip(texts)
        texts = tf.strings.regex_replace(texts, r"\s*\n\s*", " ")
        if not self.follows_words:
            return texts
        return tf.strings.regex_replace(texts, r"\A(\S)", r" \1")

    def _words(self, token_ids):
        return self.token_embedding(token_ids)

    def _with_prompt(self, context, mask):
        end = ops.shape(context)[1]
        context, mask = self._insert(self.prompt_ids, end, context, mask)
        return context, {"padding_mask": mask}

    def _empty_cache(self, batch, width):
        return ops.zeros((batch, 2, width, *self._heads), self.compute_dtype)

    def _run(self, x, marks):
        mask = marks["padding_mask"]
        x = x + self._positions(mask, 0, ops.shape(x)[1])
        for block in self.blocks:
            x = block(x, decoder_padding_mask=mask)
        return x

    def _cached_blocks(self, x, place, marks, cache):
        mask = marks["padding_mask"]
        x = x + self._positions(mask, place, ops.shape(x)[1])
        return cached_blocks(self.blocks, x, place, mask, cache)

    def _positions(self, mask, start, length):
        """Vectors of the places of some tokens, `(batch, length, hidden_dim)`."""
        # No sooner: how long a prompt is, an encoder tells with its first batch.
        if (mask.shape[1] or 0) > self.longest:
            raise ValueError(
                f"Image, prompt and text must fit into the OPT's {self.longest} "
                f"places. Received: {mask.shape[1]} tokens. Shorten the prompt or the "
                "text."
            )
        before = ops.cumsum(ops.cast(mask, "int32"), axis=1) - 1
        before = before[:, start : start + length]
        places = ops.maximum(before, 0) + self._unused_places
        return ops.cast(self.position_embedding(places), self.compute_dtype)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "prompt_ids": self.prompt_ids,
            "follows_words": self.follows_words,
        }
