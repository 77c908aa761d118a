"""The parts of a BLIP-2: what it reads with, and what it writes with."""

import keras
import keras_hub

from kmmft.encoders import ImageEncoder
from kmmft.models.blip2_opt_decoder import Blip2OptDecoder
from kmmft.models.blip2_t5_decoder import Blip2T5Decoder
from kmmft.models.prompt_parts import prompt_parts


def blip2_parts(
    backbone: keras.Model,
    tokenizer: keras.layers.Layer,
    sequence_length: int,
    keep: str,
    prompt: str,
    image_size: int | None,
) -> dict:
    """Takes a BLIP-2 apart.

    Args:
        backbone: As for `FusionGenerator.from_backbone`, and so are the others.

    Returns:
        Arguments of `FusionGenerator`.

    Raises:
        ValueError: As there.
    """
    # As it was trained: the whole image, out of shape.
    image = ImageEncoder.from_backbone(
        backbone, image_size, resize_mode="stretch", interpolation="bicubic"
    )
    language_model = backbone.language_model
    options = (tokenizer, sequence_length, keep, prompt)
    encoders, constant = prompt_parts(image, language_model, *options)
    if isinstance(language_model, keras_hub.models.BLIP2FlanT5):
        decoder = Blip2T5Decoder(language_model, constant)
    else:
        follows_words = prompt != "" and not prompt[-1].isspace()
        decoder = Blip2OptDecoder(language_model, constant, follows_words)
    return {"encoders": encoders, "decoder": decoder, "read_directly": list(encoders)}
