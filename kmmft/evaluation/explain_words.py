"""From token ids back to the words of a text."""

import keras
import keras_hub
import numpy as np

from kmmft.encoders import ClipTokenizer
from kmmft.encoders.sentencepiece_models import byte_signs

_END_OF_WORD = "</w>"
_BYTES = {sign: ord(byte) for byte, sign in byte_signs().items()}


def words_of(
    tokenizer: keras.layers.Layer, token_ids: np.ndarray
) -> list[tuple[str, list[int]]]:
    """The words of a text and the places of their tokens.

    Args:
        tokenizer: The text encoder's.
        token_ids: int array `(length,)`. Special tokens and padding are left out.

    Returns:
        Pairs of a word and its tokens' places in `token_ids`.

    Example:
        >>> import keras_hub
        >>> from kmmft.evaluation.explain_words import words_of
        >>> pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "##s", "sit"]
        >>> words_of(keras_hub.tokenizers.BertTokenizer(pieces), np.array([2, 5, 6, 7]))
        [('cats', [1, 2]), ('sit', [3])]
    """
    pieces = _pieces(tokenizer)
    names = ("start", "end", "pad", "cls", "sep", "mask")
    special = {getattr(tokenizer, f"{name}_token_id", None) for name in names}
    words, ended = [], True
    for place, index in enumerate(map(int, token_ids)):
        if index in special:
            ended = True
            continue
        text, starts, ends = _read(pieces(index))
        if starts or ended or not words:
            words.append((b"", []))
        words[-1] = (words[-1][0] + text, [*words[-1][1], place])
        ended = ends
    return [(text.decode("utf-8", "replace"), places) for text, places in words]


def _pieces(tokenizer: keras.layers.Layer):
    """From an id to (piece, kind)."""
    if isinstance(tokenizer, ClipTokenizer | keras_hub.tokenizers.BytePairTokenizer):
        tokens = {index: token for token, index in tokenizer.vocabulary.items()}
        ends = any(token.endswith(_END_OF_WORD) for token in tokens.values())
        return lambda index: (tokens[index], "clip" if ends else "bytes")
    kind = "sentencepiece"
    if isinstance(tokenizer, keras_hub.tokenizers.WordPieceTokenizer):
        kind = tokenizer.suffix_indicator
    return lambda index: (tokenizer.id_to_token(index), kind)


def _read(piece_and_kind: tuple[str, str]) -> tuple[bytes, bool, bool]:
    """A piece's text, and whether a word starts and ends with it."""
    piece, kind = piece_and_kind
    if kind == "clip":
        text = piece.removesuffix(_END_OF_WORD)
        return bytes(_BYTES[sign] for sign in text), False, text != piece
    if kind == "bytes":
        text = bytes(_BYTES.get(sign, 63) for sign in piece)
        return text.removeprefix(b" "), text.startswith(b" "), False
    if kind == "sentencepiece":
        return piece.lstrip("\u2581").encode(), piece.startswith("\u2581"), False
    return piece.removeprefix(kind).encode(), not piece.startswith(kind), False
