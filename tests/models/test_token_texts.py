"""A tokenizer without a padding token, whose start is its end: GPT-2's."""

import dataclasses

import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from recipes import captioning

WORDS = ["!", "a", "Ġ", "c", "t", "Ġc", "at", "Ġcat", "<|endoftext|>"]
MERGES = ["Ġ c", "a t", "Ġc at"]


@pytest.fixture(scope="module")
def tokenizer():
    return keras_hub.tokenizers.GPT2Tokenizer(
        {word: number for number, word in enumerate(WORDS)}, MERGES
    )


def test_texts_come_back(tokenizer):
    texts = kmmft.models.TokenTexts(tokenizer, max_length=6)
    token_ids, mask = texts.pack(tf.constant(["a cat!", "", "a a a a a a"]))
    assert token_ids[0].numpy().tolist() == [8, 1, 7, 0, 8, 0]
    assert mask.numpy().sum(1).tolist() == [5, 2, 6]
    assert texts.unpack(token_ids).numpy()[:2].tolist() == [b"a cat!", b""]


def test_the_recipe_starts_from_a_language_models_preset(tokenizer, tmp_path):
    backbone = keras_hub.models.GPT2Backbone(
        len(WORDS), 1, 2, 8, 16, max_sequence_length=32
    )
    backbone.save_to_preset(tmp_path / "gpt2")
    tokenizer.save_to_preset(tmp_path / "gpt2")
    config = dataclasses.replace(
        captioning.PRESETS["smoke"], decoder=str(tmp_path / "gpt2"), search="greedy"
    )
    model = captioning.build_model(config, captions=[])
    kept = model.decoder.backbone.token_embedding.embeddings
    np.testing.assert_array_equal(kept, backbone.token_embedding.embeddings)
    picture = tf.io.encode_png(tf.zeros((64, 64, 3), tf.uint8)).numpy()
    (text,) = model.generate({"image": [picture]})
    assert isinstance(text, str)
