"""The parts of a Gemma 3 that sees images: what it reads with, and what it writes with.

The tokens are those of KerasHub's preprocessor: `<bos>`, the prompt up to
`"\\n\\n<start_of_image>"`, the image, `"<end_of_image>\\n\\n"`, the rest of the prompt.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from kmmft.encoders import ImageEncoder, PromptEncoder, TextEncoder
from kmmft.encoders.families import TextFamily
from kmmft.encoders.text_preprocessor import TextPreprocessor
from kmmft.models.gemma3_decoder import Gemma3Decoder, check_sees_images
from kmmft.models.prompt_field import split_prompt

_IMAGE = "<start_of_image>"
_AFTER_IMAGE = "<end_of_image>"
_BREAK = "\n\n"
_START = "<start_of_turn>"
_END = Gemma3Decoder.end_piece
_PROMPT = "Describe this image in one sentence."


def gemma3_parts(
    backbone: keras.Model,
    tokenizer: keras.layers.Layer,
    sequence_length: int,
    keep: str,
    prompt: str | None,
    image_size: int | None,
) -> dict:
    """Takes a Gemma 3 apart.

    Args:
        backbone: As for `FusionGenerator.from_backbone`, and so are the others.

    Returns:
        Arguments of `FusionGenerator`.

    Raises:
        ValueError: As there.
    """
    check_sees_images(backbone)
    _check_tokenizer(tokenizer)
    before, modality, after = split_prompt(_in_a_turn(prompt or _PROMPT))
    head, between = _around_image(before, prompt)
    # As it was trained: the whole image, out of shape.
    image = ImageEncoder.from_backbone(backbone, image_size, resize_mode="stretch")
    encoders = {"image": image}
    # What ends the turn is no part of a text that may be cut.
    after, end, rest = after.partition(_END)
    constant = [f"{head}{_BREAK}{_IMAGE}", _AFTER_IMAGE, end + rest]
    if modality:
        reader = PromptEncoder(backbone, f"{_BREAK}{between}", after)
        encoders[modality] = TextEncoder(reader, tokenizer, sequence_length, keep=keep)
    else:
        constant[1] = f"{_AFTER_IMAGE}{_BREAK}{between}"
    first, middle, last = _token_ids(tokenizer, constant)
    first = [int(tokenizer.start_token_id), *first]
    count = image.output["tokens"].shape[1]
    decoder = Gemma3Decoder(backbone, first, middle, last, count)
    return {"encoders": encoders, "decoder": decoder, "read_directly": list(encoders)}


def _check_tokenizer(tokenizer: keras.layers.Layer) -> None:
    if not getattr(tokenizer, "has_vision_tokens", False):
        raise ValueError(
            "`tokenizer` must have the tokens that stand around an image. Received: a "
            f"{type(tokenizer).__name__} without them. Take that of the same preset."
        )


def _in_a_turn(prompt: str) -> str:
    """The prompt as the user's turn, the image first, unless it says how it stands."""
    if _IMAGE in prompt:
        return prompt
    if _START in prompt:
        raise ValueError(
            f"A `prompt` with turns must say with {_IMAGE} where the image stands. "
            f"Received: prompt={prompt!r}."
        )
    return f"{_START}user\n{_IMAGE}{prompt}{_END}\n{_START}model\n"


def _around_image(before: str, prompt: str | None) -> tuple[str, str]:
    """What stands before and behind the image, of what is before the field."""
    parts = before.split(_IMAGE)
    if len(parts) != 2:
        raise ValueError(
            f"`prompt` must have {_IMAGE} once, before the name in braces. "
            f"Received: prompt={prompt!r}."
        )
    return parts[0], parts[1]


def _token_ids(tokenizer: keras.layers.Layer, texts: Sequence[str]) -> list[list[int]]:
    """Ids of constant texts, without a start token."""
    tokens = TextPreprocessor(tokenizer, 1, TextFamily()).tokens
    in_graph = tf.function(tokens, autograph=False)
    return in_graph(tf.constant(list(texts))).to_list()
