"""The smallest BLIP-2s, with an OPT and with a Flan-T5, and their tokenizers."""

import string

import keras
import keras_hub
import numpy as np

from kmmft.models import FusionGenerator
from tests.encoders.text_backbones import proto
from tests.models.pali_gemma_cases import LENGTH, SIZE

models = keras_hub.models
PROMPT = "the {question} on"
QUERIES = 3


def opt_tokenizer():
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "Ġ", "Ċ", *string.ascii_lowercase, "ca"]
    pieces += ["cat", "Ġs", "<image>"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return models.BLIP2OPTTokenizer(vocabulary, ["c a", "ca t", "Ġ s"])


def t5_tokenizer():
    pieces = proto(
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        pad_piece="<pad>",
        normalization_rule_name="identity",
    )
    return models.BLIP2FlanT5Tokenizer(pieces)


def language_model(kind, dtype=None, num_queries=QUERIES):
    words = make_tokenizer(kind).vocabulary_size()
    sizes = (2, 12, 16, num_queries)
    if kind == "opt":
        return models.BLIP2CustomOPT(words, 2, *sizes, 0.0, 64, 8, dtype=dtype)
    options = {"key_value_dim": 6, "dropout": 0.0, "dtype": dtype}
    return models.BLIP2FlanT5(words, 1, *sizes, 8, **options)


def make_backbone(kind, noise=0.4, dtype=None):
    keras.utils.set_random_seed(2)
    settings = (SIZE, 4, 1, 2, 8, 16, True, True, True, True, 0.0, 1e-6, 0.02)
    vision = models.BLIP2VisionEncoder(*settings, dtype=dtype)
    settings = (QUERIES, 2, 2, 8, 16, 8, 2, 0.0, 1e-12)
    qformer = models.BLIP2QFormer(*settings, dtype=dtype)
    backbone = models.BLIP2Backbone(vision, qformer, language_model(kind, dtype))
    random = np.random.default_rng(0)
    for weight in backbone.weights:
        weight.assign(weight + noise * random.normal(size=weight.shape))
    return backbone


def make_tokenizer(kind):
    return opt_tokenizer() if kind == "opt" else t5_tokenizer()


def make_model(backbone, prompt=PROMPT, **options):
    kind = "opt" if hasattr(backbone.language_model, "embeddings_layer") else "t5"
    options = {"target": "answer", "prompt": prompt, **options}
    return FusionGenerator.from_backbone(
        backbone, make_tokenizer(kind), 24, LENGTH, **options
    )
