"""Frozen pretrained decoders come back frozen from their configs."""

import keras_hub
import pytest

import kmmft
from tests.models import blip2_cases, gemma3_cases
from tests.models.pali_gemma_cases import make_backbone

DECODERS = {
    "prefix": lambda: kmmft.models.PrefixDecoder(
        keras_hub.models.GPT2Backbone(9, 1, 2, 8, 16)
    ),
    "bart": lambda: kmmft.models.BartDecoder(
        keras_hub.models.BartBackbone(9, 1, 2, 8, 16)
    ),
    "pali_gemma": lambda: kmmft.models.PaliGemmaDecoder(make_backbone(), [2, 4]),
    "blip2_opt": lambda: kmmft.models.Blip2OptDecoder(
        blip2_cases.language_model("opt"), [2, 4]
    ),
    "blip2_t5": lambda: kmmft.models.Blip2T5Decoder(
        blip2_cases.language_model("t5"), [2, 4]
    ),
    "gemma3": lambda: kmmft.models.Gemma3Decoder(gemma3_cases.make_backbone(), [2, 4]),
}


@pytest.mark.parametrize("name", DECODERS)
def test_frozen_decoders_come_back_frozen(name):
    decoder = DECODERS[name]()
    config = decoder.get_config()
    trained = type(decoder).from_config(config)
    assert len(trained.trainable_weights) == len(decoder.weights) > 8
    decoder.trainable = False
    again = type(decoder).from_config({**config, "trainable": decoder.trainable})
    assert again.get_config()["trainable"] is False
    # A model around it asks the layers and variables.
    assert not any(weight.trainable for weight in again.weights)
    again.trainable = True
    assert len(again.trainable_weights) == len(decoder.weights)
