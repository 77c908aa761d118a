"""A tokenizer with only the words that some texts need."""

import inspect
from collections.abc import Iterable

import keras_hub
import numpy as np
import tensorflow as tf

from kmmft.encoders.families import TextFamily
from kmmft.encoders.text_preprocessor import TextPreprocessor

LONGEST = 512


def shrink_tokenizer(
    tokenizer: keras_hub.tokenizers.WordPieceTokenizer, texts: Iterable[str]
) -> keras_hub.tokenizers.WordPieceTokenizer:
    """Keeps the word pieces that occur in texts, and the special tokens.

    For a small decoder from scratch: its output layer need not know 30,000 words where
    a few hundred are ever written. The texts are cut as before, since the longest piece
    that fits is still there. Other texts may become `[UNK]`.

    Args:
        tokenizer: KerasHub's `BertTokenizer`, or another one of word pieces.
        texts: The texts, such as all training captions. What stands behind the first
            512 tokens of a text is not read.

    Returns:
        A tokenizer of the same class; pieces keep their order.

    Raises:
        ValueError: If `tokenizer` is none of word pieces, or there are no texts.

    Example:
        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "dog"]
        >>> tokenizer = keras_hub.tokenizers.BertTokenizer(words, lowercase=True)
        >>> small = kmmft.encoders.shrink_tokenizer(tokenizer, ["A dog"])
        >>> small.get_vocabulary()
        ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'a', 'dog']
    """
    if not isinstance(tokenizer, keras_hub.tokenizers.WordPieceTokenizer):
        raise ValueError(
            "`tokenizer` must be one of word pieces, such as "
            "keras_hub.tokenizers.BertTokenizer. Received: "
            f"{type(tokenizer).__name__}."
        )
    texts = list(texts)
    if not texts:
        raise ValueError("There must be texts to keep the words of. Received: none.")
    used = {tokenizer.token_to_id(word) for word in tokenizer.special_tokens}
    used.add(tokenizer.token_to_id(tokenizer.oov_token))
    cut = TextPreprocessor(tokenizer, LONGEST, TextFamily())
    for batch in tf.data.Dataset.from_tensor_slices(texts).batch(256):
        used.update(np.unique(cut(batch)["token_ids"]).tolist())
    config = tokenizer.get_config()
    accepted = inspect.signature(type(tokenizer)).parameters
    settings = {
        key: value
        for key, value in config.items()
        if key in ("lowercase", "strip_accents", "split", "split_on_cjk")
        and (key in accepted or "kwargs" in accepted)
    }
    words = [tokenizer.id_to_token(number) for number in sorted(used)]
    return type(tokenizer)(words, **settings)
