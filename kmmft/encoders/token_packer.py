"""One or two tokenised texts in a row of tokens, as an encoder reads them."""

import dataclasses

import keras
import tensorflow as tf

from kmmft.encoders.families import TextFamily


@dataclasses.dataclass(frozen=True)
class PackedPairs:
    """Rows of tokens of two texts each.

    Attributes:
        token_ids: int32 tensor `(batch, length)`.
        padding_mask: bool tensor `(batch, length)`, True marks real tokens.
        segment_ids: int32 tensor `(batch, length)`, 1 for the second text and its end.
        second_start: int32 tensor `(batch,)`, place of the second text's first token.
    """

    token_ids: tf.Tensor
    padding_mask: tf.Tensor
    segment_ids: tf.Tensor
    second_start: tf.Tensor

    def inputs(self, names) -> dict[str, tf.Tensor]:
        """Those that an encoder with inputs of these names reads."""
        return {name: getattr(self, name) for name in names}


class TokenPacker:
    """Puts special tokens around texts, as the backbone's authors do.

    One text: start, text, end. Two: start, first, one or two ends, second, end.

    Args:
        tokenizer: A KerasHub tokenizer.
        family: Says which special tokens there are.
        length: Length of a row.

    Raises:
        ValueError: If `length` has no room for a token of each text.
    """

    def __init__(self, tokenizer: keras.layers.Layer, family: TextFamily, length: int):
        self.tokenizer = tokenizer
        self.family = family
        self.length = length
        if self.room < 2:
            raise ValueError(
                f"`sequence_length` must be {length - self.room + 2} or more for two "
                f"texts. Received: {length}."
            )

    @property
    def num_start(self) -> int:
        """Special tokens before the first text."""
        return int(self.family.start)

    @property
    def room(self) -> int:
        """Tokens of two texts that fit into a row."""
        return self.length - self.num_start - self.family.separators - 1

    def pack_one(self, tokens: tf.RaggedTensor) -> PackedPairs:
        """Packs one text a row; what is too long loses its end.

        Args:
            tokens: Ragged int tensor `(batch, None)`.

        Returns:
            `PackedPairs` whose segment is 0 everywhere.
        """
        tokens = tf.cast(tokens, tf.int32)
        kept = _first_of_each(
            tokens, self._rows(tokens, self.length - self.num_start - 1)
        )
        head = self._begin(kept)
        packed = self._fill(tf.concat([head, self._end(kept, 1)], axis=1), head)
        zeros = tf.zeros_like(packed.segment_ids)
        return dataclasses.replace(packed, segment_ids=zeros)

    def pack(self, first: tf.RaggedTensor, second: tf.RaggedTensor) -> PackedPairs:
        """Packs texts that fit; what is too long loses the end of its second text.

        Args:
            first: Ragged int tensor `(batch, None)`.
            second: Likewise.

        Returns:
            `PackedPairs`.
        """
        first = tf.cast(first, tf.int32)
        second = tf.cast(second, tf.int32)
        second = _first_of_each(second, self.room - _lengths(first))
        separators = self._end(first, self.family.separators)
        head = tf.concat([self._begin(first), separators], axis=1)
        return self._fill(tf.concat([head, second, self._end(second, 1)], axis=1), head)

    def trim(
        self, first: tf.RaggedTensor, second: tf.RaggedTensor
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Shortens the longer text of each pair until both fit.

        Args:
            first: Ragged int tensor `(batch, None)`.
            second: Likewise.

        Returns:
            Both, shorter.
        """
        one, other = _lengths(first), _lengths(second)
        half = self.room // 2
        keep_one = tf.maximum(self.room - half, self.room - other)
        keep_other = self.room - tf.minimum(one, keep_one)
        return _first_of_each(first, keep_one), _first_of_each(second, keep_other)

    def _begin(self, tokens: tf.RaggedTensor) -> tf.RaggedTensor:
        if not self.family.start:
            return tokens
        start = self._rows(tokens, self._special("start_token_id"))
        return tf.concat([tf.RaggedTensor.from_tensor(start[:, None]), tokens], axis=1)

    def _end(self, tokens: tf.RaggedTensor, count: int) -> tf.RaggedTensor:
        column = self._rows(tokens, self._special("end_token_id"))[:, None]
        return tf.RaggedTensor.from_tensor(tf.tile(column, [1, count]))

    def _rows(self, tokens: tf.RaggedTensor, value: int) -> tf.Tensor:
        return tf.fill([tokens.nrows(out_type=tf.int32)], value)

    def _fill(self, tokens: tf.RaggedTensor, head: tf.RaggedTensor) -> PackedPairs:
        shape = [None, self.length]
        pad = getattr(self.tokenizer, "pad_token_id", None) or 0
        places = tf.range(self.length)[None]
        start = _lengths(head)[:, None]
        mask = places < _lengths(tokens)[:, None]
        return PackedPairs(
            tf.ensure_shape(tokens.to_tensor(pad, shape=shape), shape),
            tf.ensure_shape(mask, shape),
            tf.ensure_shape(tf.cast((places >= start) & mask, tf.int32), shape),
            start[:, 0],
        )

    def _special(self, name: str) -> int:
        number = getattr(self.tokenizer, name, None)
        if number is None:
            raise ValueError(
                "Two texts are told apart by special tokens. Received: "
                f"{type(self.tokenizer).__name__} with {name}=None. Take a tokenizer "
                "of a model, such as keras_hub.tokenizers.BertTokenizer."
            )
        return int(number)


def _lengths(ragged: tf.RaggedTensor) -> tf.Tensor:
    return tf.cast(ragged.row_lengths(), tf.int32)


def _first_of_each(ragged: tf.RaggedTensor, counts: tf.Tensor) -> tf.RaggedTensor:
    """The first `counts` values of each row."""
    row = ragged.value_rowids()
    places = tf.range(tf.size(ragged.values, row.dtype))
    places -= tf.gather(ragged.row_starts(), row)
    keep = places < tf.gather(tf.cast(counts, row.dtype), row)
    return tf.ragged.boolean_mask(ragged, ragged.with_values(keep))
