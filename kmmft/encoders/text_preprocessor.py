"""From strings to padded token ids, always through the tokenizer's TF path."""

from collections.abc import Sequence

import keras
import keras_hub
import tensorflow as tf

from kmmft.encoders.families import TextFamily
from kmmft.encoders.graph_tokens import graph_tokens


class TextPreprocessor:
    """Tokenises a batch of strings inside a TensorFlow graph.

    KerasHub's tokenizers run Python when called eagerly and TensorFlow ops in a
    graph, and the two disagree on some texts. Here `graph_tokens` is the only path,
    so that training, evaluation and serving see the same ids.

    It is a plain object, not a layer: the tokenizer's tables belong to the encoder.

    Args:
        tokenizer: A KerasHub tokenizer.
        sequence_length: Length of the token ids.
        family: Which special tokens and cleaning the backbone expects.
        keep: Which part of a text that is too long is kept: `"start"` or `"end"`.
        start_tokens: What stands before a text, where the family puts something
            there: names of the tokenizer's special tokens, such as `"start"`.

    Raises:
        ValueError: If `keep` is neither.
    """

    RAW_SHAPE = (None,)
    RAW_NAME = "a batch of strings, shape (batch,)"

    def __init__(
        self,
        tokenizer: keras.layers.Layer,
        sequence_length: int,
        family: TextFamily,
        keep: str = "start",
        start_tokens: Sequence[str] = ("start",),
    ):
        if keep not in ("start", "end"):
            raise ValueError(f"`keep` must be 'start' or 'end'. Received: {keep!r}.")
        self.keep = keep
        self.start_tokens = tuple(start_tokens) if family.start else ()
        self.tokenizer = tokenizer
        self.sequence_length = sequence_length
        self.family = family
        self._packer = None
        self._tokenise = tf.function(
            self._tokenise_batch,
            input_signature=[tf.TensorSpec(self.RAW_SHAPE, tf.string)],
        )

    def __call__(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        texts = tf.convert_to_tensor(texts, tf.string)
        if not texts.shape.is_compatible_with(self.RAW_SHAPE):
            raise ValueError(
                f"`texts` must be {self.RAW_NAME}. "
                f"Received: shape {texts.shape}. Batch before tokenising: "
                "it is several times faster"
            )
        return self._tokenise(texts)

    def tokens(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Token ids of cleaned texts, without special tokens, inside a graph.

        Args:
            texts: string tensor `(batch,)`.

        Returns:
            Ragged int tensor `(batch, None)`.
        """
        # Lookup tables made while a graph is traced would die with that graph.
        with tf.init_scope():
            self.tokenizer._maybe_initialized_tf()
        # Bytes that are no UTF-8 become U+FFFD, as in Python's `errors="replace"`.
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8")
        if self.family.clean is not None and not self._cleans_itself():
            texts = self.family.clean(texts)
        return graph_tokens(self.tokenizer, texts)

    def _tokenise_batch(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        # Built here, because a loaded tokenizer learns its vocabulary late.
        start = [self._special(f"{name}_token_id") for name in self.start_tokens]
        start = [number for number in start if number is not None]
        end = self.end_id()
        tokens = self.tokens(texts)
        if self.keep == "end":
            room = self.sequence_length - len(start) - (end is not None)
            tokens = tokens[:, -room:]
        packer = keras_hub.layers.StartEndPacker(
            self.sequence_length,
            start_value=start or None,
            end_value=end,
            pad_value=self._special("pad_token_id") or 0,
            return_padding_mask=True,
        )
        token_ids, padding_mask = packer(tokens)
        shape = [None, self.sequence_length]
        token_ids = tf.ensure_shape(tf.cast(token_ids, tf.int32), shape)
        padding_mask = tf.ensure_shape(padding_mask, shape)
        return {"token_ids": token_ids, "padding_mask": padding_mask}

    def end_id(self) -> int | None:
        """Id of the token that is put after a text; `None` if there is none."""
        piece = self.family.end_piece
        if piece is None:
            return self._special("end_token_id")
        if not piece:
            return None
        number = self.tokenizer.token_to_id(piece)
        if self.tokenizer.id_to_token(number) != piece:
            raise ValueError(
                f"The tokenizer must have the token {piece!r}, which ends a text. "
                f"Received: a {type(self.tokenizer).__name__} without it."
            )
        return number

    def _cleans_itself(self) -> bool:
        return getattr(self.tokenizer, "cleans_text", False)

    def _special(self, name: str) -> int | None:
        return getattr(self.tokenizer, name, None)


def check_length(
    backbone: keras.Model, family: TextFamily, sequence_length: int
) -> None:
    """Looks whether a backbone takes texts of this length.

    Raises:
        ValueError: If it does not.
    """
    longest = getattr(backbone, "max_sequence_length", None)
    if longest is None:
        return
    if family.fixed_length and sequence_length != longest:
        raise ValueError(
            f"`sequence_length` must be {longest}, the only length that this "
            f"{type(backbone).__name__} takes. Received: {sequence_length}"
        )
    if sequence_length > longest:
        raise ValueError(
            f"`sequence_length` must be at most {longest}, this "
            f"{type(backbone).__name__}'s longest. Received: {sequence_length}"
        )
