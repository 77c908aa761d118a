"""GPT-2's byte pairs inside a TensorFlow graph, equal to Hugging Face's."""

import keras_hub
import tensorflow as tf

from kmmft.encoders.sentencepiece_models import NULL_BYTE, WORD_END, byte_level_model

# Unicode's white space; RE2's \s knows only five of them.
_SPACE = (
    r"\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}"
    r"\x{3000}"
)
# GPT-2's pattern without its look ahead, `\s+(?!\S)`: `_LAST_SPACE` does its work.
_WORDS = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+|"
    rf" ?[^{_SPACE}\p{{L}}\p{{N}}]+|[{_SPACE}]+"
)
_LAST_SPACE = rf"[{_SPACE}][^{_SPACE}]"


def byte_pairs(
    tokenizer: keras_hub.tokenizers.BytePairTokenizer, texts: tf.Tensor
) -> tf.RaggedTensor:
    """Token ids as `tokenizers`' ByteLevel and BPE: GPT-2's, RoBERTa's and BART's.

    KerasHub's own graph splits at other white space, and keeps every word that it
    has ever seen.

    Args:
        tokenizer: Gives vocabulary, merges and `add_prefix_space`.
        texts: string tensor `(batch,)` of valid UTF-8.

    Returns:
        Ragged int32 tensor `(batch, None)`. A special token's name in a text is
        read as a text. Bytes that the vocabulary lacks are left out.

    References:
        - [Radford et al., 2019](https://openai.com/index/better-language-models/),
          section 2.2.
    """
    import tensorflow_text as tf_text  # slow, and loaded by KerasHub anyway

    merges = [rule for rule in tokenizer.merges if not rule.startswith("#version")]
    model, unknown = byte_level_model(tokenizer.vocabulary, merges)
    if tokenizer.add_prefix_space:
        texts = tf.where(
            tf.strings.regex_full_match(texts, " (?s:.*)|"),
            texts,
            tf.strings.join([" ", texts]),
        )
    pieces = tf_text.SentencepieceTokenizer(model, out_type=tf.int32)
    words = tf.strings.split(words_of_gpt2(texts), sep=chr(WORD_END))
    tokens = tokens_of_words(pieces, words)
    return tf.ragged.boolean_mask(tokens, tokens != unknown)


def tokens_of_words(
    pieces: "tensorflow_text.SentencepieceTokenizer",  # noqa: F821
    words: tf.RaggedTensor,
) -> tf.RaggedTensor:
    """Token ids of each text's words, where each word of a batch is split only once.

    Args:
        pieces: Splits one word into tokens.
        words: Ragged string tensor `(batch, None)`.

    Returns:
        Ragged int32 tensor `(batch, None)`.
    """
    distinct, places = tf.unique(words.values)
    tokens = tf.gather(pieces.tokenize(distinct), places)
    return words.with_values(tokens).merge_dims(1, 2)


def words_of_gpt2(texts: tf.Tensor) -> tf.Tensor:
    """Words with a sign after each, every byte as the Latin-1 character of its value.

    Args:
        texts: string tensor `(batch,)` of valid UTF-8.

    Returns:
        string tensor `(batch,)`. The signs stand for bytes that UTF-8 never has.

    Example:
        >>> words_of_gpt2(["I'm  né"]).numpy()[0].decode()
        "Iÿ'mÿ ÿÿ nÃ©ÿ"
    """
    end = bytes([WORD_END])
    texts = tf.strings.regex_replace(texts, _LAST_SPACE, end + rb"\0")
    texts = tf.strings.regex_replace(texts, _WORDS, rb"\0" + end)
    texts = tf.strings.regex_replace(texts, r"\x{00}", bytes([NULL_BYTE]))
    return tf.strings.unicode_transcode(texts, "ISO-8859-1", "UTF-8")
