"""Texts that a model writes: strings to token ids and back, in graph."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from kmmft.encoders.families import TextFamily
from kmmft.encoders.graph_tokens import graph_texts
from kmmft.encoders.text_preprocessor import TextPreprocessor


class TokenTexts:
    """Turns texts into token ids between a start and an end token, and back.

    It is a plain object, not a layer: the tokenizer's tables belong to the model.

    Args:
        tokenizer: A KerasHub tokenizer with a start and an end token, such as
            `BertTokenizer` or `GPT2Tokenizer`.
        max_length: Length of the token ids, both special tokens included; longer texts
            lose their end.
        start_tokens: What stands before each text: names of the tokenizer's special
            tokens. Some pretrained decoders expect others than the start token.
        end_piece: Token that ends a text. Default: the tokenizer's end token.
        clean: String operation before the tokenizer; what is written then loses the
            white space around it.

    Attributes:
        start_ids: Ids of what stands before each text.
        end_id: Id of the end token, which may be the same.
        pad_id: Id that fills up; 0 where the tokenizer has none.

    Raises:
        ValueError: If the tokenizer has no start or end token, or `max_length` leaves
            no room for a word.

    Example:
        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat"]
        >>> tokenizer = keras_hub.tokenizers.BertTokenizer(words, lowercase=True)
        >>> texts = kmmft.models.TokenTexts(tokenizer, max_length=5)
        >>> token_ids, padding_mask = texts.pack(tf.constant(["A cat", ""]))
        >>> token_ids.numpy()
        array([[2, 5, 6, 3, 0],
               [2, 3, 0, 0, 0]], dtype=int32)
        >>> texts.unpack(token_ids).numpy()
        array([b'a cat', b''], dtype=object)
    """

    def __init__(
        self,
        tokenizer: keras.layers.Layer,
        max_length: int,
        start_tokens: Sequence[str] = ("start",),
        end_piece: str | None = None,
        clean: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ):
        least = len(start_tokens) + 2
        if max_length < least:
            raise ValueError(
                f"`max_length` must be {least} or more, since start and end take "
                f"{least - 1} places. Received: {max_length}."
            )
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.start_tokens = tuple(start_tokens)
        family = TextFamily(end_piece=end_piece, clean=clean)
        self._pack = TextPreprocessor(
            tokenizer, max_length, family, start_tokens=start_tokens
        )
        self._unpack = tf.function(
            self._unpack_batch,
            input_signature=[tf.TensorSpec([None, max_length], tf.int32)],
        )
        if self.has_vocabulary:
            _ = self.start_ids, self.end_id  # an error now, not in the first batch

    @property
    def has_vocabulary(self) -> bool:
        """False while a tokenizer is read from a file: its words come last."""
        sources = ("vocabulary", "proto")
        return any(getattr(self.tokenizer, name, None) for name in sources)

    @property
    def start_ids(self) -> list[int]:
        return [self._special(f"{name}_token_id") for name in self.start_tokens]

    @property
    def end_id(self) -> int:
        if self._pack.family.end_piece is None:
            return self._special("end_token_id")
        return self._pack.end_id()

    @property
    def pad_id(self) -> int:
        return getattr(self.tokenizer, "pad_token_id", None) or 0

    def pack(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Strings `(batch,)` to int32 ids and a bool mask `(batch, max_length)`."""
        packed = self._pack(texts)
        return packed["token_ids"], packed["padding_mask"]

    def unpack(self, token_ids: tf.Tensor) -> tf.Tensor:
        """Ids `(batch, max_length)`, which begin with `start_ids`, to strings.

        What stands behind the first end token is left out.
        """
        # Lookup tables made while a graph is traced would die with that graph.
        with tf.init_scope():
            self.tokenizer._maybe_initialized_tf()
        return self._unpack(token_ids)

    def lengths(self, texts: tf.Tensor) -> tf.Tensor:
        """Tokens of strings `(batch,)`, int64, start and end included, before a cut."""
        count = tf.function(lambda texts: self._pack.tokens(texts).row_lengths())
        return count(tf.convert_to_tensor(texts)) + len(self.start_tokens) + 1

    def _unpack_batch(self, token_ids: tf.Tensor) -> tf.Tensor:
        written = token_ids[:, len(self.start_tokens) :]
        ended = tf.cumsum(tf.cast(written == self.end_id, tf.int32), axis=1) > 0
        # A decoder may have more words than its tokenizer, which stand for nothing.
        real = ~ended & (written < self.tokenizer.vocabulary_size())
        if getattr(self.tokenizer, "pad_token", None) not in (None, ""):
            # A model may write padding before the end; it stands for no word. Where
            # there is no such token (GPT-2), the id that fills up is a word's.
            real &= written != self.pad_id
        words = tf.ragged.boolean_mask(written, real)
        texts = tf.ensure_shape(graph_texts(self.tokenizer, words), [None])
        return texts if self._pack.family.clean is None else tf.strings.strip(texts)

    def _special(self, name: str) -> int:
        number = getattr(self.tokenizer, name, None)
        if number is None:
            raise ValueError(
                "A text is written from a start to an end token. Received: "
                f"{type(self.tokenizer).__name__} with {name}=None. Take a tokenizer "
                "of a model, such as keras_hub.tokenizers.BertTokenizer."
            )
        return int(number)
