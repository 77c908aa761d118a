"""BLIP-2 as the parts of one model, against `transformers`."""

import pathlib

import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.models import Blip2OptDecoder, Blip2T5Decoder, FusionGenerator
from kmmft.models.generator_parts import check_parts
from tests.models.blip2_cases import (
    PROMPT,
    language_model,
    make_backbone,
    make_model,
    make_tokenizer,
    opt_tokenizer,
)
from tests.models.pali_gemma_cases import ANSWERS, LENGTH, lesson, raw_of
from tests.models.writer_checks import (
    check_cached_steps,
    check_constant_prompt,
    check_copies_share_words,
    check_equals_transformers,
    check_half_precision,
    check_low_rank_changes,
    check_round_trips,
)

GOLDEN = pathlib.Path(__file__).parent / "golden"


@pytest.fixture(scope="module", params=["opt", "t5"])
def backbone(request):
    return make_backbone(request.param)


@pytest.fixture(scope="module")
def model(backbone):
    return make_model(backbone)


@pytest.mark.parametrize("kind", ["opt", "t5"])
def test_equals_transformers(kind):
    check_equals_transformers(GOLDEN / f"blip2_{kind}", "{question} answer")


def test_a_presets_output_layer_is_loaded(tmp_path):
    # KerasHub makes it after the weights were loaded.
    backbone = make_backbone("t5")
    backbone.language_model.lm_head.build((None, None, 12))
    backbone.save_to_preset(str(tmp_path))
    make_tokenizer("t5").save_to_preset(str(tmp_path))
    model = FusionGenerator.from_preset(str(tmp_path), 24, LENGTH, prompt="the cat")
    again = make_model(backbone, prompt="the cat", target="caption")
    for ours, theirs in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(
        model.decoder.head.kernel, backbone.language_model.lm_head.kernel
    )


def test_cached_steps_equal_one_pass(backbone):
    prompt_ids = [2, 7, 4]
    if hasattr(backbone.language_model, "t5"):
        decoder = Blip2T5Decoder(backbone.language_model, prompt_ids)
    else:
        decoder = Blip2OptDecoder(backbone.language_model, prompt_ids)
    check_cached_steps(decoder, reads_start=isinstance(decoder, Blip2T5Decoder))


def test_a_constant_prompt_is_read_as_a_question_of_that_text(model, backbone):
    check_constant_prompt(model, make_model(backbone, prompt="the cat on"))


def test_a_text_goes_on_behind_a_prompt():
    backbone = make_backbone("opt")
    texts = ["a cat\n", " \n", "the\n\n mat"]
    for prompt, space in ((PROMPT, ["Ġ"]), (None, []), ("the ", [])):
        model = make_model(backbone, prompt=prompt)
        token_ids, mask = model._texts.pack(texts)
        rows = [row[real] for row, real in zip(token_ids.numpy(), mask, strict=True)]
        pieces = [[model.tokenizer.id_to_token(i) for i in row] for row in rows]
        assert pieces[0] == ["</s>", *space, "a", "Ġ", "cat", "Ċ"]
        assert pieces[1] == ["</s>", "Ċ"]
        assert model._texts.unpack(token_ids).numpy().tolist() == [
            b"a cat",
            b"",
            b"the mat",
        ]


def test_a_copy_shares_its_words_again(model):
    check_copies_share_words(model)


@pytest.mark.slow
def test_a_saved_and_an_exported_model_write_the_same(model, tmp_path, monkeypatch):
    check_round_trips(model, raw_of(model), tmp_path, monkeypatch)


def test_depths_and_low_rank_changes():
    model = make_model(make_backbone("t5"))
    depths = kmmft.finetuning.layer_depths(model)
    image = "image_encoder/qformer_encoder"
    vision = f"{image}/blip2_vision_encoder"
    expected = {
        f"{vision}/patching_and_embedding/patch_embedding/kernel": 0,
        f"{vision}/encoder/transformer_block_1/mha/query/kernel": 1,
        f"{image}/blip2_qformer/transformer_layer_1/output_dense/kernel": 3,
        f"{image}/language_projection/kernel": 4,
        "decoder/token_embedding/embeddings": 1,
        "decoder/transformer_encoder_layer_0/self_attention/query_projector/kernel": 2,
        "decoder/transformer_decoder_layer_0/cross_attention/key_projector/kernel": 3,
        "decoder/lm_head/kernel": 4,
    }
    assert {path: depths[path] for path in expected} == expected
    # Two matrices each of the queries and values of three attentions.
    check_low_rank_changes(model, 12)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["opt", "t5"])
def test_half_precision(kind):
    full, half = (make_backbone(kind, dtype=dtype) for dtype in (None, "bfloat16"))
    half = check_half_precision(make_model(full), make_model(half))
    assert {weight.dtype for weight in half.weights} == {"bfloat16"}


def test_images_of_another_size(model, backbone):
    larger = make_model(backbone, image_size=12)
    inputs, *_ = lesson(larger)
    assert inputs["image"].shape == (4, 12, 12, 3)
    assert np.abs(larger(inputs) - model(lesson(model)[0])).max() > 1e-3
    encoder = larger.encoders["image"]
    assert encoder.output["tokens"].shape == (None, 3, 12)
    # The same parts but for the places.
    changed = [
        ours.path
        for ours, theirs in zip(
            encoder.weights, model.encoders["image"].weights, strict=True
        )
        if ours.shape != theirs.shape or np.any(np.array(ours) != np.array(theirs))
    ]
    assert len(changed) == 1 and changed[0].endswith("position_embedding/embeddings")


def test_images_are_whole_patches(backbone):
    for size in (10, 2):
        with pytest.raises(ValueError, match=r"whole patches of \(4, 4\).*Received"):
            make_model(backbone, image_size=size)


def test_a_decoder_may_have_more_words_than_the_tokenizers_file():
    texts = kmmft.models.TokenTexts(make_tokenizer("t5"), LENGTH, ("pad",))
    words = texts.tokenizer.vocabulary_size()
    vit = keras_hub.models.ViTBackbone((8, 8, 3), 4, 1, 2, 8, 16)
    encoders = {"image": kmmft.encoders.ImageEncoder(vit)}
    for spare in (128, 129):
        t5 = keras_hub.models.BLIP2FlanT5(words + spare, 1, 2, 8, 16, 3, 8)
        parts = (encoders, Blip2T5Decoder(t5), texts, "caption", [])
        if spare == 128:
            check_parts(*parts)
        else:
            with pytest.raises(ValueError, match="same number of words"):
                check_parts(*parts)


def test_bad_prompts(backbone):
    for prompt, message in (
        ("{question} or {text}", "`prompt` must be .* at most one"),
        ("the cat sits on the mat, a bird", "must hold the prompt.*=24"),
    ):
        with pytest.raises(ValueError, match=message):
            make_model(backbone, prompt=prompt)


def test_bad_parts():
    reader = language_model("t5", num_queries=0)
    reads = keras_hub.models.BLIP2Backbone(None, None, reader)
    with pytest.raises(
        ValueError, match=r"needs a vision encoder.*vision_encoder=None"
    ):
        FusionGenerator.from_backbone(reads, make_tokenizer("t5"), 24, LENGTH)
    with pytest.raises(ValueError, match=r"must be a .*BLIP2CustomOPT.*FlanT5"):
        Blip2OptDecoder(reader)
    with pytest.raises(ValueError, match=r"must be a .*BLIP2FlanT5.*CustomOPT"):
        Blip2T5Decoder(language_model("opt"))
    with pytest.raises(ValueError, match=r"language model.*BLIP2Backbone"):
        kmmft.encoders.PromptEncoder(reads)
    long = FusionGenerator.from_backbone(
        make_backbone("opt"), opt_tokenizer(), 60, LENGTH, prompt=PROMPT
    )
    with pytest.raises(ValueError, match=r"fit into the OPT's 64.*Received: 73"):
        long.generate(raw_of(long))
    inputs, *_ = long.teach(long.preprocess(raw_of(long)), tf.constant(ANSWERS))
    with pytest.raises(ValueError, match=r"fit into the OPT's 64.*Received: 73"):
        long(inputs)
