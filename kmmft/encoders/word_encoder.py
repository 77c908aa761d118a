"""A text encoder of the words of some texts, to be trained from scratch."""

import re
from collections.abc import Iterable

import keras
import keras_hub

from kmmft.data import RecordSource, list_captions
from kmmft.encoders.text_encoder import TextEncoder


def caption_encoder(
    handle: str, source: RecordSource, sequence_length: int
) -> TextEncoder:
    """The text encoder that a recipe's flag names.

    Args:
        handle: `"small"`, a `word_encoder` of the words of the training captions; or as
            in `TextEncoder.from_preset`.
        source: Its records have `captions`; they are only read for `"small"`.
        sequence_length: As in `TextEncoder`.

    Returns:
        The encoder.

    Example::

        encoder = kmmft.encoders.caption_encoder("small", source, 16)
    """
    if handle != "small":
        return TextEncoder.from_preset(handle, sequence_length=sequence_length)
    return word_encoder(list_captions(source, "train"), sequence_length)


def word_encoder(
    texts: Iterable[str], sequence_length: int, hidden_dim: int = 64
) -> TextEncoder:
    """Makes the mean of words' vectors, with random ones for the words of `texts`.

    For small made-up data, and as a floor for others: order says nothing to it. Words
    are taken in lower case; any other word is unknown.

    Args:
        texts: Texts whose words it shall know, such as all training captions.
        sequence_length: As in `TextEncoder`.
        hidden_dim: Width of the vectors.

    Returns:
        The encoder.

    Example:
        >>> encoder = kmmft.encoders.word_encoder(["A cat.", "a dog"], 8)
        >>> encoder(encoder.preprocess(["a cat"]))["pooled"].shape
        TensorShape([1, 64])
    """
    found = {
        word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower())
    }
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(found)]
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    vectors = keras.layers.Embedding(len(words), hidden_dim)(token_ids)
    return TextEncoder(
        keras.Model({"token_ids": token_ids}, vectors, name="words"),
        keras_hub.models.BertTokenizer(words, lowercase=True),
        sequence_length=sequence_length,
        pooling="mean",
    )
