"""Words of texts and the tokens of each, so that answers can be given in words."""

import dataclasses

import tensorflow as tf

from kmmft.encoders.graph_tokens import splits_at_spaces
from kmmft.encoders.text_encoder import TextEncoder

# RE2's \s knows only five of Unicode's white spaces.
_SPACE = r"\s\p{Z}\x{85}\x{0b}"
_IDEOGRAPH = r"\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{20000}-\x{2fa1f}"
_SIGN = rf"[^\p{{L}}\p{{M}}\p{{N}}{_SPACE}]|[{_IDEOGRAPH}]"


@dataclasses.dataclass(frozen=True)
class Words:
    """Words of a batch of texts.

    Attributes:
        words: Ragged string tensor `(batch, None)`.
        starts: Ragged int64 tensor, byte of each word's beginning in its text.
        ends: Likewise, of the first byte behind it.
    """

    words: tf.RaggedTensor
    starts: tf.RaggedTensor
    ends: tf.RaggedTensor


def split_words(texts: tf.Tensor) -> Words:
    """Splits texts at white space, and takes off each sign and Chinese character.

    Works in graphs. BERT's own words are the same.

    Args:
        texts: string tensor `(batch,)` of valid UTF-8.

    Returns:
        `Words`.

    Example:
        >>> split_words(tf.constant(["It's 5.30!"])).words
        <tf.RaggedTensor [[b'It', b"'", b's', b'5', b'.', b'30', b'!']]>
    """
    import tensorflow_text as tf_text  # slow, and loaded by KerasHub anyway

    return Words(
        *tf_text.regex_split_with_offsets(texts, rf"[{_SPACE}]+|{_SIGN}", _SIGN)
    )


def word_tokens(
    encoder: TextEncoder,
    words: tf.RaggedTensor,
    after_space: tf.RaggedTensor | None = None,
) -> tf.RaggedTensor:
    """Token ids of each word. Works in graphs.

    Word pieces are those of the whole text. Byte pairs (RoBERTa) are, too, where their
    words are single ones; SentencePiece models see each word as one after a space.

    Args:
        encoder: Its tokenizer and its cleaning are used.
        words: Ragged string tensor `(batch, None)`.
        after_space: Ragged bool tensor of the same shape, for tokenizers to which a
            space is part of the next word. Default: all words stand behind one.

    Returns:
        Ragged int32 tensor `(batch, None, None)`. A word may have no token.
    """
    flat = words.values
    if splits_at_spaces(encoder.tokenizer):
        spaced = tf.strings.join([" ", flat])
        flat = (
            spaced
            if after_space is None
            else tf.where(after_space.values, spaced, flat)
        )
    tokens = tf.cast(encoder.preprocessor.tokens(flat), tf.int32)
    return words.with_values(tokens)


@dataclasses.dataclass(frozen=True)
class TokenWords:
    """Tokens in a row, and which word each belongs to.

    Attributes:
        tokens: Ragged int32 tensor `(batch, None)`.
        word: Ragged int64 tensor of the same shape, number of the word.
        is_first: Likewise bool, whether the token is its word's first.
        is_last: Likewise, whether it is its last.
    """

    tokens: tf.RaggedTensor
    word: tf.RaggedTensor
    is_first: tf.RaggedTensor
    is_last: tf.RaggedTensor


def in_a_row(pieces: tf.RaggedTensor) -> TokenWords:
    """Joins the tokens of each text's words.

    Args:
        pieces: Ragged int tensor `(batch, None, None)`, as `word_tokens` returns.

    Returns:
        `TokenWords`.
    """
    tokens = pieces.merge_dims(1, 2)
    inner = pieces.values
    word = inner.value_rowids()  # counted through the whole batch
    place = tf.range(tf.size(tokens.values, tf.int64))
    first_word = tf.gather(pieces.row_starts(), tokens.value_rowids())
    return TokenWords(
        tokens,
        tokens.with_values(word - first_word),
        tokens.with_values(place == tf.gather(inner.row_starts(), word)),
        tokens.with_values(place == tf.gather(inner.row_limits(), word) - 1),
    )
