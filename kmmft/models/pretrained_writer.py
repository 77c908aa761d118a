"""The parts of a pretrained writer: what it reads with, and what it writes with."""

import keras
import keras_hub

from kmmft.encoders import ImageEncoder, TextEncoder
from kmmft.models.blip2_parts import blip2_parts
from kmmft.models.decoder_half import decoder_half
from kmmft.models.gemma3_parts import gemma3_parts
from kmmft.models.pali_gemma_decoder import PaliGemmaDecoder
from kmmft.models.prompt_parts import prompt_parts

_PROMPT = "caption en"


def writer_parts(
    backbone: keras.Model,
    tokenizer: keras.layers.Layer,
    sequence_length: int,
    keep: str = "start",
    prompt: str | None = None,
    image_size: int | None = None,
) -> dict:
    """Takes a backbone that reads and writes apart.

    Args:
        backbone: As for `FusionGenerator.from_backbone`, and so are the others.

    Returns:
        Arguments of `FusionGenerator`.

    Raises:
        ValueError: As there.
    """
    if isinstance(backbone, keras_hub.models.PaliGemmaBackbone):
        options = (prompt or _PROMPT, image_size)
        return _pali_gemma_parts(backbone, tokenizer, sequence_length, keep, *options)
    if isinstance(backbone, keras_hub.models.Gemma3Backbone):
        options = (sequence_length, keep, prompt, image_size)
        return gemma3_parts(backbone, tokenizer, *options)
    if isinstance(backbone, keras_hub.models.BLIP2Backbone):
        options = (sequence_length, keep, prompt or "", image_size)
        return blip2_parts(backbone, tokenizer, *options)
    decoder = decoder_half(backbone)
    if (prompt, image_size) != (None, None):
        raise ValueError(
            "`prompt` and `image_size` are for a writer that sees images. Received: "
            f"prompt={prompt!r}, image_size={image_size} and a "
            f"{type(backbone).__name__}. Leave them out."
        )
    encoder = TextEncoder.from_backbone(backbone, tokenizer, sequence_length, keep=keep)
    return {
        "encoders": {"text": encoder},
        "decoder": decoder,
        "target": "target",
        "read_directly": ["text"],
    }


def _pali_gemma_parts(backbone, tokenizer, sequence_length, keep, prompt, image_size):
    # As it was trained: the whole image, out of shape.
    image = ImageEncoder.from_backbone(backbone, image_size, resize_mode="stretch")
    options = (tokenizer, sequence_length, keep, prompt)
    encoders, constant = prompt_parts(image, backbone, *options)
    return {
        "encoders": encoders,
        "decoder": PaliGemmaDecoder(backbone, constant),
        "read_directly": list(encoders),
    }
