"""The decoder half of an encoder-decoder text backbone."""

import keras
import keras_hub

from kmmft.models.bart_decoder import BartDecoder
from kmmft.models.t5_decoder import T5Decoder

_DECODERS = {
    keras_hub.models.BartBackbone: BartDecoder,
    keras_hub.models.T5Backbone: T5Decoder,
}


def decoder_half(backbone: keras.Model) -> BartDecoder | T5Decoder:
    """The decoder of a backbone that has one.

    Args:
        backbone: A `keras_hub.models.BartBackbone` or `T5Backbone`.

    Returns:
        `BartDecoder` or `T5Decoder`.

    Raises:
        ValueError: If it is another backbone.
    """
    for kind, decoder in _DECODERS.items():
        if isinstance(backbone, kind):
            return decoder(backbone)
    raise ValueError(
        "A pretrained writer must be a BART, a T5, a PaliGemma, a Gemma 3 or a BLIP-2. "
        f"Received: {type(backbone).__name__}. Give other encoders a "
        "CrossAttentionDecoder."
    )
