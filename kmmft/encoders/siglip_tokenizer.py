"""SigLIP's tokenizers inside a TensorFlow graph, equal to Hugging Face's."""

import keras
import keras_hub
import tensorflow as tf

from kmmft.encoders.families import canonicalise, lower_letters

_CLEAN = {
    "canonicalise": canonicalise,
    "lower": lower_letters,
    "open_clip": lambda texts: canonicalise(tf.strings.regex_replace(texts, "_", " ")),
    "none": lambda texts: texts,
}


@keras.saving.register_keras_serializable("kmmft")
class SiglipTokenizer(keras_hub.tokenizers.SentencePieceTokenizer):
    """A SentencePiece model with the cleaning that a SigLIP was trained with.

    `keras_hub.tokenizers.SigLIPTokenizer` cleans nothing and knows only the special
    tokens of the first SigLIP.

    Args:
        proto: The serialised SentencePiece model.
        end_token: Token that ends a text: `"</s>"`, or `"<eos>"` for SigLIP 2.
        pad_token: Token of padding: `"</s>"`, or `"<pad>"` for SigLIP 2.
        clean: `"canonicalise"` (lower case, no ASCII punctuation, single spaces:
            SigLIP), `"lower"` (SigLIP 2), `"open_clip"` (as the first, but an
            underscore becomes a space) or `"none"`.

    Call arguments:
        inputs: string tensor `(batch,)`.

    Returns:
        Ragged int32 tensor `(batch, None)` without end token; a list of lists when
        called outside of a graph.

    Raises:
        ValueError: If `clean` is not one of those, or a special token is not in
            the model.

    References:
        - [Zhai et al., 2023](https://arxiv.org/abs/2303.15343), section 4.
        - [Tschannen et al., 2025](https://arxiv.org/abs/2502.14786), section 2.1.
    """

    cleans_text = True

    def __init__(
        self,
        proto: bytes | None = None,
        end_token: str = "</s>",
        pad_token: str = "</s>",
        clean: str = "canonicalise",
        **kwargs,
    ):
        if clean not in _CLEAN:
            raise ValueError(
                f"`clean` must be one of {', '.join(map(repr, _CLEAN))}. "
                f"Received: clean={clean!r}"
            )
        self._add_special_token(end_token, "end_token")
        self._add_special_token(pad_token, "pad_token")
        super().__init__(proto=proto, **kwargs)
        self.clean = clean

    def tokenize(self, inputs: tf.Tensor) -> tf.RaggedTensor:
        """Token ids of texts; always by TensorFlow ops, the only path."""
        return self._tokenize_tf(_CLEAN[self.clean](tf.convert_to_tensor(inputs)))

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "end_token": self.end_token,
            "pad_token": self.pad_token,
            "clean": self.clean,
        }
