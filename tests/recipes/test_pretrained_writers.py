"""Captioning and answering with `--pretrained_writer`, of small pretrained models."""

import dataclasses
import io

import keras
import keras_hub
import numpy as np
import pytest
import sentencepiece
import tensorflow as tf

import kmmft
from recipes import captioning, visual_question_answering
from recipes.captions.models import build_model
from tests.models import blip2_cases, gemma3_cases
from tests.models.pali_gemma_cases import make_backbone

TEXTS = [
    f"{colour} {shape} answer en what color is it? what shape is it? caption en a"
    for colour in ("red", "green", "blue")
    for shape in ("square", "disc")
]
GOOD = {
    captioning: {"pretrained_writer": "preset"},
    visual_question_answering: {"pretrained_writer": "preset", "head": "generate"},
}
WRITER = {"image_size": 16, "sequence_length": 24, "patience": 30}


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """A directory of KerasHub's, for pictures half as large."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 4),
        model_writer=model,
        vocab_size=100,
        model_type="unigram",
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        user_defined_symbols=["\n"],
        minloglevel=2,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
    )
    tokenizer = keras_hub.tokenizers.PaliGemmaTokenizer(model.getvalue())
    directory = tmp_path_factory.mktemp("preset")
    size = {"hidden_dim": 32, "head_dim": 16, "intermediate_dim": 64}
    vision = {"vit_hidden_dim": 16, "vit_intermediate_dim": 32}
    make_backbone(noise=0.0, vocabulary_size=100, **size, **vision).save_to_preset(
        directory
    )
    tokenizer.save_to_preset(directory)
    return str(directory)


@pytest.fixture
def float32_again():
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="module")
def blip2_preset(tmp_path_factory):
    """Likewise, of a BLIP-2 with an OPT that writes letter by letter."""
    directory = tmp_path_factory.mktemp("blip2")
    blip2_cases.make_backbone("opt", noise=0.0).save_to_preset(directory)
    blip2_cases.make_tokenizer("opt").save_to_preset(directory)
    return str(directory)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["preset", "blip2_preset"])
def test_a_small_writer_learns_captions(kind, request, tmp_path):
    preset = request.getfixturevalue(kind)
    config = dataclasses.replace(
        captioning.PRESETS["smoke"],
        **WRITER,
        output_dir=str(tmp_path),
        pretrained_writer=preset,
        train_image_encoder=True,
        search="greedy",
        learning_rate=5e-3,
        epochs=30,
    )
    metrics = captioning.main(config)
    # The most frequent caption has 61 % of a caption's words right, one of the right
    # colour without a look at the shape 83 %.
    assert metrics["test/rouge_l"] > 0.8 > 0.7 > metrics["most_frequent/rouge_l"]
    pictures = sorted((tmp_path / "data/pictures").glob("test-*-red-*"))
    served = tf.saved_model.load(tmp_path / "export/1").signatures["serving_default"]
    files = [picture.read_bytes() for picture in pictures]
    model = keras.saving.load_model(tmp_path / "model.keras")
    texts = served(image=tf.constant(files))["text"].numpy().tolist()
    assert [text.decode() for text in texts] == model.generate({"image": files})


@pytest.mark.slow
def test_low_rank_changes_answer_questions(preset, tmp_path, float32_again):
    config = dataclasses.replace(
        visual_question_answering.PRESETS["smoke"],
        **WRITER,
        output_dir=str(tmp_path),
        head="generate",
        pretrained_writer=preset,
        lora_rank=2,
        dtype_policy="bfloat16",
        epochs=2,
    )
    metrics = visual_question_answering.main(config)
    assert 0 <= metrics["test/accuracy"] <= 1
    model = keras.saving.load_model(tmp_path / "model.keras")
    start = kmmft.models.FusionGenerator.from_preset(
        preset, 24, 8, prompt=config.prompt, image_size=16
    )
    changed = set()
    named = kmmft.finetuning.named_variables(model)
    for (path, own), first in zip(named.items(), start.weights, strict=True):
        assert own.dtype == "bfloat16" and own.name == first.name
        values = (np.array(one, "float32") for one in (own, first))
        if not np.array_equal(*values):
            changed.add(path)
    attention = "decoder/decoder_block_0/attention"
    assert changed == {f"{attention}/{name}/kernel" for name in ("query", "value")}
    records = kmmft.data.open_source(tmp_path / "data/shapes/1.0.0")
    raw = model.raw_columns(kmmft.data.first_records(records, "test", 4))
    served = tf.saved_model.load(tmp_path / "export/1").signatures["serving_default"]
    texts = served(**{name: tf.constant(own) for name, own in raw.items()})["text"]
    assert texts.shape == (4,)


def test_a_gemma3_directory_is_a_writer(tmp_path):
    backbone = gemma3_cases.make_backbone()
    backbone.save_to_preset(tmp_path)
    gemma3_cases.make_tokenizer().save_to_preset(tmp_path)
    config = dataclasses.replace(
        captioning.PRESETS["smoke"],
        pretrained_writer=str(tmp_path),
        prompt="the cat",
        image_size=8,
        lora_rank=2,
    )
    model = build_model(config, [])
    expected = gemma3_cases.make_model(backbone, prompt="the cat", target="caption")
    assert model.decoder.before_image == expected.decoder.before_image
    assert model.decoder.after_image == expected.decoder.after_image
    # The low-rank changes are in the decoder, and begin at zero.
    assert len(model.trainable_variables) == 4
    length = config.sequence_length - 1
    inputs = {
        "image": np.ones((2, 8, 8, 3)),
        "target_token_ids": np.ones((2, length), "int32"),
        "target_padding_mask": np.ones((2, length), bool),
    }
    logits = np.array(model(inputs))
    context = expected.encoders["image"](inputs["image"])["tokens"]
    mask = np.ones(context.shape[:2], bool)
    own = expected.decoder(inputs["target_token_ids"], context, mask)
    np.testing.assert_allclose(logits, own, atol=1e-5)


def test_what_asks_the_queries_learns(blip2_preset):
    config = dataclasses.replace(
        captioning.PRESETS["smoke"],
        pretrained_writer=blip2_preset,
        image_size=16,
        lora_rank=2,
    )
    low_rank = build_model(config, [])
    learns = [weight.path for weight in low_rank.encoders["image"].trainable_weights]
    expected = low_rank.encoders["image"].backbone
    parts = (expected.qformer, expected.projection)
    assert learns == [weight.path for part in parts for weight in part.weights]
    assert len(low_rank.decoder.trainable_weights) == 8
    without_image = build_model(dataclasses.replace(config, lora_rank=0), [])
    learns = [w.path for w in without_image.encoders["image"].trainable_weights]
    assert learns == [w.path for part in parts for w in part.weights]
    assert not config.train_image_encoder


@pytest.mark.parametrize(
    ("recipe", "changes", "message"),
    [
        (captioning, {"model": "coca"}, "is a whole model.*--model coca"),
        (captioning, {"prompt": "answer {question}"}, "same for all pictures"),
        (captioning, {"pretrained_writer": "", "lora_rank": 2}, "for a pretrained wr"),
        (visual_question_answering, {"head": "classify"}, "generates, and reads"),
        (visual_question_answering, {"prompt": "answer"}, "must say where"),
        (
            visual_question_answering,
            {"pretrained_writer": "", "lora_rank": 2},
            "is for a pretrained writer",
        ),
    ],
)
def test_bad_settings(recipe, changes, message):
    config = dataclasses.replace(recipe.PRESETS["smoke"], **GOOD[recipe])
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(config, **changes)
