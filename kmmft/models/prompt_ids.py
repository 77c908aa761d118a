"""A prompt that is the same for all examples, as token ids."""

import keras
import tensorflow as tf

from kmmft.encoders import PromptEncoder
from kmmft.encoders.families import text_family
from kmmft.encoders.text_preprocessor import TextPreprocessor


def prompt_ids(
    reader: PromptEncoder, tokenizer: keras.layers.Layer, sequence_length: int
) -> list[int]:
    """Ids of a prompt without a text in it, with what stands before and after it.

    Args:
        reader: Says what these are.
        tokenizer: Its backbone's own.
        sequence_length: Longest prompt, in tokens.

    Raises:
        ValueError: If it is longer.
    """
    # One place more than may be: what fills it is too long.
    pack = TextPreprocessor(tokenizer, sequence_length + 1, text_family(reader))
    packed = pack(tf.constant([""]))
    ids = packed["token_ids"][packed["padding_mask"]].numpy().tolist()
    if len(ids) > sequence_length:
        raise ValueError(
            "`sequence_length` must hold the prompt, with the tokens around it. "
            f"Received: sequence_length={sequence_length} and the prompt "
            f"{reader.before + reader.after!r}. Shorten it, or allow more tokens."
        )
    return ids
