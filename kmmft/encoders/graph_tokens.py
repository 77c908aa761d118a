"""The one way from strings to token ids, for each kind of tokenizer."""

import contextlib
from collections.abc import Iterator

import keras
import keras_hub
import tensorflow as tf

from kmmft.encoders.byte_pairs import byte_pairs
from kmmft.encoders.clip_tokenizer import ClipTokenizer, clip_tokens
from kmmft.encoders.word_pieces import word_pieces

# KerasHub's other byte pairs (Llama's, Whisper's, ...) split words in other ways.
_GPT2_WORDS = (
    keras_hub.tokenizers.GPT2Tokenizer,
    keras_hub.tokenizers.RobertaTokenizer,
    keras_hub.tokenizers.BartTokenizer,
    keras_hub.tokenizers.OPTTokenizer,
    keras_hub.tokenizers.BLIP2OPTTokenizer,
)


# AutoGraph would trace the building of a model, piece by piece: minutes.
@tf.autograph.experimental.do_not_convert
def graph_tokens(tokenizer: keras.layers.Layer, texts: tf.Tensor) -> tf.RaggedTensor:
    """Token ids by TensorFlow ops, equal to the tokenizer's reference.

    Word pieces (BERT, DistilBERT, ELECTRA), GPT-2's byte pairs (RoBERTa, BART) and
    CLIP's are equal to Hugging Face's `tokenizers`, and SentencePiece models to
    `sentencepiece`. No state grows with the words that were seen. Other tokenizers
    are asked as they are.

    Args:
        tokenizer: A KerasHub tokenizer.
        texts: string tensor `(batch,)` of valid UTF-8.

    Returns:
        Ragged int tensor `(batch, None)` without special tokens.
    """
    if isinstance(tokenizer, ClipTokenizer | keras_hub.tokenizers.CLIPTokenizer):
        return clip_tokens(tokenizer, texts)
    if isinstance(tokenizer, keras_hub.tokenizers.SentencePieceTokenizer):
        return _sentence_pieces(tokenizer, texts)
    if _is_bert(tokenizer):
        return word_pieces(tokenizer, texts)
    if splits_at_spaces(tokenizer):
        return byte_pairs(tokenizer, texts)
    return tokenizer(texts)


def _is_bert(tokenizer: keras.layers.Layer) -> bool:
    if not isinstance(tokenizer, keras_hub.tokenizers.WordPieceTokenizer):
        return False
    return tokenizer.split and not tokenizer.special_tokens_in_strings


def splits_at_spaces(tokenizer: keras.layers.Layer) -> bool:
    """Whether these are GPT-2's byte pairs, to which a space begins a word."""
    plain = type(tokenizer) is keras_hub.tokenizers.BytePairTokenizer
    return plain or isinstance(tokenizer, _GPT2_WORDS)


@tf.autograph.experimental.do_not_convert
def graph_texts(tokenizer: keras.layers.Layer, token_ids: tf.RaggedTensor) -> tf.Tensor:
    """Undoes `graph_tokens`.

    Args:
        tokenizer: A KerasHub tokenizer.
        token_ids: Ragged int tensor `(batch, None)` without special tokens.

    Returns:
        string tensor `(batch,)`.
    """
    if isinstance(tokenizer, keras_hub.tokenizers.SentencePieceTokenizer):
        with _own_sentence_piece(tokenizer):
            return tokenizer.detokenize(token_ids)
    return tokenizer.detokenize(token_ids)


def _sentence_pieces(
    tokenizer: keras_hub.tokenizers.SentencePieceTokenizer, texts: tf.Tensor
) -> tf.RaggedTensor:
    with _own_sentence_piece(tokenizer):
        return tokenizer(texts)


@contextlib.contextmanager
def _own_sentence_piece(
    tokenizer: keras_hub.tokenizers.SentencePieceTokenizer,
) -> Iterator[None]:
    # An eagerly made SentencePiece processor lives in a cached kernel, which
    # `tf.random.set_seed` throws away. One made in this graph lives with it.
    eager = tokenizer._sentence_piece
    tokenizer._set_proto_tf(tokenizer.proto)
    try:
        yield
    finally:
        tokenizer._sentence_piece = eager
