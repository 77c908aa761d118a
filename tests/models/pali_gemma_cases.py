"""The smallest PaliGemma and its tokenizer, and questions about pictures."""

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from kmmft.models import FusionGenerator
from tests.encoders.text_backbones import proto

SIZE = 8
PROMPT = "the {question} on"
QUESTIONS = ["cat", "red bird sits", "", "dog"]
ANSWERS = ["a red cat", "mat", "", "a bird sits on the mat the cat"]
LENGTH = 12
IMAGES = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), "uint8")
FILES = [tf.io.encode_png(image).numpy() for image in IMAGES]


def make_tokenizer(line_break="\n"):
    return keras_hub.tokenizers.PaliGemmaTokenizer(
        proto(
            pad_id=0,
            eos_id=1,
            bos_id=2,
            unk_id=3,
            pad_piece="<pad>",
            eos_piece="<eos>",
            bos_piece="<bos>",
            user_defined_symbols=line_break,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
        )
    )


def make_backbone(noise=0.4, **changes):
    keras.utils.set_random_seed(2)
    settings = {
        "vocabulary_size": 60,
        "image_size": SIZE,
        "num_layers": 1,
        "num_query_heads": 2,
        "num_key_value_heads": 1,
        "hidden_dim": 8,
        "intermediate_dim": 16,
        "head_dim": 4,
        "vit_patch_size": 4,
        "vit_num_heads": 2,
        "vit_hidden_dim": 8,
        "vit_num_layers": 1,
        "vit_intermediate_dim": 16,
    }
    backbone = keras_hub.models.PaliGemmaBackbone(**{**settings, **changes})
    random = np.random.default_rng(0)
    for weight in backbone.weights:
        weight.assign(weight + noise * random.normal(size=weight.shape))
    return backbone


def make_model(backbone=None, prompt=PROMPT, **options):
    options = {"target": "answer", "prompt": prompt, **options}
    backbone = backbone or make_backbone()
    return FusionGenerator.from_backbone(
        backbone, make_tokenizer(), 24, LENGTH, **options
    )


def raw_of(model):
    raw = {"image": tf.constant(FILES), "question": tf.constant(QUESTIONS)}
    return {modality: raw[modality] for modality in model.encoders}


def lesson(model):
    return model.teach(model.preprocess(raw_of(model)), tf.constant(ANSWERS))
