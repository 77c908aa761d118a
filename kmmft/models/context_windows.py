"""Contexts that are too long for an encoder, in windows that overlap."""

import dataclasses

import tensorflow as tf

from kmmft.encoders import TextPairEncoder
from kmmft.encoders.token_packer import PackedPairs, TokenPacker
from kmmft.encoders.word_tokens import (
    TokenWords,
    Words,
    in_a_row,
    split_words,
    word_tokens,
)


@dataclasses.dataclass(frozen=True)
class TokenisedContexts:
    """Questions and contexts as tokens, and where the windows of a context begin.

    Attributes:
        question: Ragged int32 tensor `(batch, None)`.
        words: The contexts' words.
        row: The contexts' tokens.
        room: int32 tensor `(batch,)`, tokens of a context in one window.
        starts: Ragged int32 tensor `(batch, None)`, first token of each window.
    """

    question: tf.RaggedTensor
    words: Words
    row: TokenWords
    room: tf.Tensor
    starts: tf.RaggedTensor


@dataclasses.dataclass(frozen=True)
class PackedWindows:
    """Windows of some contexts, each with its question: `(windows, length)`.

    Attributes:
        packed: Tokens.
        example: int64 tensor `(windows,)`, whose context it is.
        word: int64 tensor, number of the context's word to which a token belongs, -1
            for tokens of no context.
        is_first: bool tensor, whether the token is its word's first.
        is_last: bool tensor, whether it is its last.
    """

    packed: PackedPairs
    example: tf.Tensor
    word: tf.Tensor
    is_first: tf.Tensor
    is_last: tf.Tensor


class ContextWindows:
    """Cuts contexts into windows of tokens. All of it works in graphs.

    Two neighbouring windows have `overlap` tokens in common (half a window, where that
    is less), so that an answer at the border of one stands inside of another.

    Args:
        encoder: Reads question and context together.
        overlap: Tokens that neighbours have in common.
        max_question_tokens: Longer questions lose their end.

    Raises:
        ValueError: If there is no room for a context.
    """

    def __init__(
        self, encoder: TextPairEncoder, overlap: int, max_question_tokens: int
    ):
        self.encoder = encoder
        self.packer = TokenPacker(
            encoder.tokenizer, encoder.family, encoder.sequence_length
        )
        self.overlap = overlap
        self.max_question_tokens = max_question_tokens
        if overlap < 0 or not 0 < max_question_tokens < self.packer.room:
            raise ValueError(
                "`overlap` must not be negative, and `max_question_tokens` positive "
                f"and less than {self.packer.room}, what a window holds. Received: "
                f"{overlap} and {max_question_tokens}."
            )

    def tokenise(self, question: tf.Tensor, context: tf.Tensor) -> TokenisedContexts:
        """Tokenises questions and contexts.

        Args:
            question: string tensor `(batch,)`.
            context: string tensor `(batch,)` of valid UTF-8.

        Returns:
            `TokenisedContexts`.
        """
        tokens = self.encoder.preprocessor.tokens(question)
        asked = tf.cast(tokens, tf.int32)[:, : self.max_question_tokens]
        words = split_words(context)
        spaces = _after_space(words)
        row = in_a_row(word_tokens(self.encoder, words.words, spaces))
        room = self.packer.room - tf.cast(asked.row_lengths(), tf.int32)
        step = room - tf.minimum(self.overlap, room // 2)
        beyond = tf.maximum(tf.cast(row.tokens.row_lengths(), tf.int32) - room, 0)
        starts = tf.ragged.range(0, -(-beyond // step) * step + 1, step)
        return TokenisedContexts(asked, words, row, room, starts)

    def pack(self, contexts: TokenisedContexts, starts: tf.RaggedTensor):
        """Packs windows that begin at some of the contexts' tokens.

        Args:
            contexts: What `tokenise` returned.
            starts: Ragged int32 tensor `(batch, None)`.

        Returns:
            `PackedWindows`, those of one context behind each other.
        """
        row, example = contexts.row, starts.value_rowids()
        begin = tf.cast(starts.values, tf.int64)
        lengths = tf.gather(row.tokens.row_lengths(), example)
        room = tf.cast(tf.gather(contexts.room, example), tf.int64)
        base = tf.gather(row.tokens.row_starts(), example)
        places = tf.ragged.range(base + begin, base + tf.minimum(begin + room, lengths))
        packed = self.packer.pack(
            tf.gather(contexts.question, example),
            tf.gather(row.tokens.values, places),
        )

        def spread(values, empty):
            """Values of the contexts' tokens at their places in the windows."""
            found = tf.gather(values.values, places).to_tensor(empty)
            width = tf.shape(found)[1]
            own = tf.range(self.packer.length)[None] - packed.second_start[:, None]
            there = (own >= 0) & (
                own < tf.cast(places.row_lengths(), tf.int32)[:, None]
            )
            # A batch without a token has no column to take from.
            found = tf.pad(found, [[0, 0], [0, 1]], constant_values=empty)
            own = tf.where(there, own, width)
            return tf.gather(found, own, batch_dims=1)

        return PackedWindows(
            packed,
            example,
            spread(row.word, tf.constant(-1, tf.int64)),
            spread(row.is_first, False),
            spread(row.is_last, False),
        )


def _after_space(words: Words) -> tf.RaggedTensor:
    """Which words do not follow directly on another one, or begin the text."""
    starts, ends = words.starts.flat_values, words.ends.flat_values
    rows = words.words.value_rowids()
    is_first = tf.range(tf.size(starts, rows.dtype)) == tf.gather(
        words.words.row_starts(), rows
    )
    before = tf.concat([tf.zeros([1], ends.dtype), ends], 0)[: tf.size(starts)]
    return words.words.with_values(
        starts > tf.where(is_first, tf.zeros_like(before), before)
    )
