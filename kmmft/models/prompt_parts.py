"""What reads an image and a prompt behind it."""

import keras
import tensorflow as tf

from kmmft.encoders import ImageEncoder, PromptEncoder, TextEncoder
from kmmft.encoders.families import text_family
from kmmft.encoders.text_preprocessor import TextPreprocessor
from kmmft.models.prompt_field import split_prompt


def prompt_parts(
    image: ImageEncoder,
    backbone: keras.Model,
    tokenizer: keras.layers.Layer,
    sequence_length: int,
    keep: str,
    prompt: str,
) -> tuple[dict[str, keras.Model], list[int]]:
    """Encoders of an image and of a prompt with a text in it, or a constant prompt.

    Args:
        image: Reads the image.
        backbone: As for `PromptEncoder`.
        tokenizer: Its own.
        sequence_length: Longest prompt, in tokens.
        keep: As for `FusionGenerator.from_backbone`.
        prompt: Likewise.

    Returns:
        The encoders by modality, and the ids of a prompt that is the same for all.

    Raises:
        ValueError: If the prompt names several texts, or is too long without any.
    """
    before, modality, after = split_prompt(prompt)
    reader = PromptEncoder(backbone, before, after)
    constant = _prompt_ids(reader, tokenizer, sequence_length)
    if modality is None:
        return {"image": image}, constant
    text = TextEncoder(reader, tokenizer, sequence_length, keep=keep)
    return {"image": image, modality: text}, []


def _prompt_ids(
    reader: PromptEncoder, tokenizer: keras.layers.Layer, sequence_length: int
) -> list[int]:
    """Ids of a prompt without a text in it, with what stands before and after it."""
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
