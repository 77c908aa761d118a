"""BERT's words and word pieces inside a TensorFlow graph, equal to Hugging Face's."""

import keras_hub
import tensorflow as tf

from kmmft.encoders.families import lower_letters

# RE2's \s knows only five of Unicode's white spaces. The line and form feeds that
# are missing here are control characters to BERT, and vanish.
_SPACES = (
    r"[\t\n\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]"
)
_VANISHING = r"[\p{Cc}\p{Cf}\p{Co}\x{fffd}]+"
# ASCII's punctuation, signs such as $ and ^ included, and Unicode's. The last two are
# punctuation in the edition of Unicode that `tokenizers` goes by.
_PUNCTUATION = r"!-/:-@\[-`{-~\p{P}\x{166d}\x{111c9}"
_IDEOGRAPHS = (
    r"\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{20000}-\x{2a6df}"
    r"\x{2a700}-\x{2b81f}\x{2b920}-\x{2ceaf}\x{2f800}-\x{2fa1f}"
)
_LONGEST_WORD = 100  # characters; a longer word is an unknown one
_TOO_LONG = r"[^ ]{101,}"
# No word piece holds it. One of Unicode's noncharacters: a text cannot mean it.
_UNKNOWN = "\uffff"


def word_pieces(
    tokenizer: keras_hub.tokenizers.WordPieceTokenizer, texts: tf.Tensor
) -> tf.RaggedTensor:
    """Token ids as `tokenizers`' BertNormalizer, BertPreTokenizer and WordPiece.

    KerasHub's own graph drops no control characters, splits at other spaces than
    BERT, folds cases instead of lowering them, and counts a long word in bytes.

    Args:
        tokenizer: Gives the vocabulary, `lowercase`, `strip_accents` and
            `split_on_cjk`.
        texts: string tensor `(batch,)` of valid UTF-8.

    Returns:
        Ragged int32 tensor `(batch, None)`.

    References:
        - [Devlin et al., 2018](https://arxiv.org/abs/1810.04805), sec. 3 (the
          authors' `tokenization.py`).
    """
    import tensorflow_text as tf_text  # slow, and loaded by KerasHub anyway

    words = words_of_bert(
        texts,
        lowercase=tokenizer.lowercase,
        strip_accents=tokenizer.strip_accents,
        split_on_cjk=tokenizer.split_on_cjk,
    )
    # Made anew for each graph: its model is a constant, which lives with the graph.
    pieces = tf_text.FastWordpieceTokenizer(
        tokenizer.get_vocabulary(),
        suffix_indicator=tokenizer.suffix_indicator,
        max_bytes_per_word=4 * _LONGEST_WORD,
        token_out_type=tf.int32,
        unknown_token=tokenizer.oov_token,
        no_pretokenization=True,
    )
    return pieces.tokenize(tf.strings.split(words)).merge_dims(-2, -1)


def words_of_bert(
    texts: tf.Tensor, lowercase: bool, strip_accents: bool, split_on_cjk: bool = True
) -> tf.Tensor:
    """Clean words and punctuation marks with single or double spaces between them.

    Args:
        texts: string tensor `(batch,)` of valid UTF-8.
        lowercase: Whether each letter becomes a small one.
        strip_accents: Whether letters lose their accents.
        split_on_cjk: Whether each Chinese character is a word.

    Returns:
        string tensor `(batch,)`.

    Example:
        >>> words_of_bert(["Café\\u00a0au lait, 漢字!"], True, True).numpy()[0].decode()
        'cafe au lait ,   漢  字  ! '
    """
    import tensorflow_text as tf_text  # slow, and loaded by KerasHub anyway

    texts = tf.strings.regex_replace(texts, _SPACES, " ")
    texts = tf.strings.regex_replace(texts, _VANISHING, "")
    if strip_accents:
        texts = tf_text.normalize_utf8(texts, "NFD")
        texts = tf.strings.regex_replace(texts, r"\p{Mn}+", "")
    if lowercase:
        texts = lower_letters(texts)
    alone = _PUNCTUATION + _IDEOGRAPHS * split_on_cjk
    texts = tf.strings.regex_replace(texts, f"[{alone}]", r" \0 ")
    return tf.strings.regex_replace(texts, _TOO_LONG, _UNKNOWN)
