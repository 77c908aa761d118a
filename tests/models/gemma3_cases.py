"""The smallest Gemma 3 that sees images, its tokenizer, and how KerasHub reads."""

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from kmmft.models import FusionGenerator
from tests.encoders.text_backbones import proto
from tests.models.pali_gemma_cases import IMAGES, LENGTH, QUESTIONS, SIZE

PROMPT = "the {question} on"
TURN = "<start_of_turn>user\n<start_of_image>{}<end_of_turn>\n<start_of_turn>model\n"
END = "<end_of_turn>"
IMAGE_PIECES = ["<img>", "<start_of_image>", "<end_of_image>"]
PIECES = [
    *IMAGE_PIECES,
    "<start_of_turn>",
    "user",
    "model",
    END,
    "\n",
    "\n\n",
    "\n\n\n",
]
# Room for the prompt and what is written.
ROW = 84


def make_tokenizer(pieces=PIECES, **options):
    return keras_hub.tokenizers.Gemma3Tokenizer(
        proto(
            pad_id=0,
            eos_id=1,
            bos_id=2,
            unk_id=3,
            pad_piece="<pad>",
            eos_piece="<eos>",
            bos_piece="<bos>",
            user_defined_symbols=",".join(pieces),
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
        ),
        **options,
    )


def make_backbone(noise=0.4, seed=0, vision_changes=None, **changes):
    keras.utils.set_random_seed(2)
    vision = {
        # As in presets: a number at its end would be taken for a block's.
        "name": "gemma3_vision_encoder",
        "image_size": SIZE,
        # 16 tokens. With as many as there are rows, Keras 3.15's `ops.add` mixes up
        # the rows of KerasHub's places of images.
        "patch_size": 1,
        "num_heads": 2,
        "hidden_dim": 8,
        "num_layers": 1,
        "intermediate_dim": 16,
        "output_dim": 8,
        "pool_size": 2,
    }
    settings = {
        "vocabulary_size": 60,
        "image_size": SIZE,
        "num_layers": 1,
        "num_query_heads": 2,
        "num_key_value_heads": 1,
        "hidden_dim": 8,
        "intermediate_dim": 16,
        "head_dim": 4,
        "use_post_ffw_norm": True,
        "use_post_attention_norm": True,
        "vision_encoder": keras_hub.models.Gemma3VisionEncoder(
            **{**vision, **(vision_changes or {})}
        ),
    }
    backbone = keras_hub.models.Gemma3Backbone(**{**settings, **changes})
    random = np.random.default_rng(seed)
    for weight in backbone.weights:
        weight.assign(weight + noise * random.normal(size=weight.shape))
    return backbone


def make_model(backbone=None, prompt=PROMPT, tokenizer=None, length=24, **options):
    options = {"target": "answer", "prompt": prompt, **options}
    backbone = backbone or make_backbone()
    tokenizer = tokenizer or make_tokenizer()
    return FusionGenerator.from_backbone(backbone, tokenizer, length, LENGTH, **options)


def prompts():
    return [TURN.format(PROMPT.format(question=question)) for question in QUESTIONS]


def packed_by_kerashub(tokenizer, responses=None):
    """What KerasHub's preprocessor makes of the images and the questions."""
    converter = keras_hub.layers.Gemma3ImageConverter(
        image_size=(SIZE, SIZE), scale=1 / 127.5, offset=-1.0
    )
    preprocessor = keras_hub.models.Gemma3CausalLMPreprocessor(
        tokenizer,
        converter,
        sequence_length=ROW,
        max_images_per_prompt=1,
        num_vision_tokens_per_image=16,
    )
    raw = {"images": tf.constant(IMAGES), "prompts": tf.constant(prompts())}
    if responses is None:
        return preprocessor.generate_preprocess(raw)
    return preprocessor({**raw, "responses": tf.constant(responses)})


def logits_by_kerashub(backbone, inputs):
    return np.array(backbone.token_embedding(backbone(inputs), reverse=True))
