"""Gemma 3 as the parts of one model, against KerasHub and `transformers`."""

import json
import pathlib

import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.models import Gemma3Decoder
from tests.models.gemma3_cases import (
    END,
    IMAGE_PIECES,
    PROMPT,
    TURN,
    logits_by_kerashub,
    make_backbone,
    make_model,
    make_tokenizer,
    packed_by_kerashub,
)
from tests.models.pali_gemma_cases import (
    ANSWERS,
    LENGTH,
    QUESTIONS,
    lesson,
    raw_of,
)
from tests.models.writer_checks import (
    assert_near,
    check_cached_steps,
    check_constant_prompt,
    check_copies_share_words,
    check_equals_transformers,
    check_half_precision,
    check_low_rank_changes,
    check_round_trips,
)

GOLDEN = pathlib.Path(__file__).parent / "golden/gemma3"


@pytest.fixture(scope="module")
def backbone():
    # Windows smaller than an image. In the third block words see, through others, what
    # the image's tokens saw of each other in the first.
    return make_backbone(
        noise=0.2,
        seed=2,
        num_layers=3,
        use_sliding_window_attention=True,
        sliding_window_size=12,
    )


@pytest.fixture(scope="module")
def model(backbone):
    return make_model(backbone)


def assert_lessons_equal(model, backbone):
    inputs, words, weights = lesson(model)
    # KerasHub ends a text with the token that ends documents.
    answers = [answer + END for answer in ANSWERS]
    theirs, their_words, their_weights = packed_by_kerashub(model.tokenizer, answers)
    their_words, their_kept = np.array(their_words), np.array(their_weights)
    # All that both teach, but of the longest answer, which is cut here.
    kept, their_kept = weights.numpy() > 0, their_kept & (their_words != 1)
    kept[3] = their_kept[3] = False
    np.testing.assert_array_equal(words.numpy()[kept], their_words[their_kept])
    assert kept.sum() == 15
    logits = np.array(model(inputs))[kept]
    expected = logits_by_kerashub(backbone, theirs)[their_kept]
    assert_near(logits, expected)


def test_lessons_equal_kerashubs(model, backbone):
    assert_lessons_equal(model, backbone)


def test_lessons_equal_kerashubs_without_windows():
    # The other kind of a Gemma 3's blocks, and all that a backbone may set.
    backbone = make_backbone(
        num_layers=2,
        final_logit_soft_cap=30,
        attention_logit_soft_cap=50,
        global_rope_scaling_factor=8.0,
        num_key_value_heads=2,
        use_post_ffw_norm=False,
    )
    assert_lessons_equal(make_model(backbone), backbone)


def test_equals_transformers():
    check_equals_transformers(GOLDEN, "{question} answer")


def test_greedy_texts_are_kerashubs_likeliest_words(model, backbone):
    written = model.generate_tokens(model.preprocess(raw_of(model))).numpy()[:, 1:]
    theirs = {k: np.array(v) for k, v in packed_by_kerashub(model.tokenizer).items()}
    rows, places = np.arange(4), theirs["padding_mask"].sum(axis=1)
    expected = []
    for place in range(LENGTH - 1):
        logits = logits_by_kerashub(backbone, theirs)[rows, places + place - 1]
        expected.append(logits.argmax(axis=1))
        theirs["token_ids"][rows, places + place] = expected[-1]
        theirs["padding_mask"][rows, places + place] = True
    expected = np.stack(expected, axis=1)
    until = np.cumsum(expected == model._texts.end_id, axis=1) == 0
    np.testing.assert_array_equal(written[until], expected[until])
    assert len(set(map(tuple, expected))) == 4 and until.sum() > 30


def test_a_turn_ends_a_text(model):
    texts = model._texts
    token_ids, mask = texts.pack(["the cat", ""])
    end = model.tokenizer.token_to_id(END)
    assert token_ids[1, 1] == end and mask[1].numpy().sum() == 2
    behind = tf.where(mask, token_ids, token_ids[0, 1])
    assert texts.unpack(behind).numpy().tolist() == [b"the cat", b""]


def test_cached_steps_equal_one_pass(backbone):
    decoder = Gemma3Decoder(backbone, [2, 7, 4], [5], [8, 9, 6], num_image_tokens=4)
    check_cached_steps(decoder, images=4)


def test_a_constant_prompt_is_read_as_a_question_of_that_text(model, backbone):
    constant = make_model(backbone, prompt="the cat on")
    check_constant_prompt(model, constant)
    # The same prompt, written in full, with and without a name in it.
    for own, prompt in ((model, PROMPT), (constant, "the cat on")):
        inputs, *_ = lesson(own)
        whole = make_model(backbone, prompt=TURN.format(prompt))
        assert_near(whole(inputs), own(inputs))


def test_a_cut_question_leaves_the_turn_whole(backbone):
    short = make_model(backbone, length=4, keep="end")
    row = short.encoders["question"].preprocess(["the bird sits on the mat"])
    assert np.all(row["padding_mask"])
    pieces = [short.tokenizer.id_to_token(i) for i in row["token_ids"].numpy()[0]]
    assert not any(piece in (END, "<bos>", "<eos>", "\n") for piece in pieces)
    ends = [short.tokenizer.id_to_token(i) for i in short.decoder.after_text]
    assert ends[:3] == [END, "\n", "<start_of_turn>"] and ends[-1] == "\n"


def test_a_copy_shares_its_words_again(model):
    check_copies_share_words(model)
    # KerasHub's backbone writes into its config; ours is still one.
    json.dumps(model.get_config())


@pytest.mark.slow
def test_a_saved_and_an_exported_model_write_the_same(model, tmp_path, monkeypatch):
    check_round_trips(model, raw_of(model), tmp_path, monkeypatch)


def test_depths_and_low_rank_changes():
    model = make_model()
    depths = kmmft.finetuning.layer_depths(model)
    vision = f"image_encoder/{model.encoders['image'].backbone.name}"
    block = f"{vision}/image_encoder/encoder_block_0"
    embeddings = f"{vision}/image_encoder/encoder_embeddings"
    projection = f"{vision}/vision_output_encoder/vision_input_projection"
    expected = {
        f"{embeddings}/embedding_conv/kernel": 0,
        f"{block}/multi_head_attention/query_proj/kernel": 1,
        f"{projection}/kernel": 2,
        "decoder/token_embedding/embeddings": 0,
        "decoder/decoder_block_0/attention/query/kernel": 1,
        "decoder/final_normalization/scale": 2,
    }
    assert {path: depths[path] for path in expected} == expected
    check_low_rank_changes(model, 4)


@pytest.mark.slow
def test_half_precision():
    changes = {"vision_changes": {"dtype": "bfloat16"}, "dtype": "bfloat16"}
    half = check_half_precision(make_model(), make_model(make_backbone(**changes)))
    # KerasHub keeps the vision encoder in full precision.
    assert {weight.dtype for weight in half.decoder.weights} == {"bfloat16"}
    assert {weight.dtype for weight in half.encoders["image"].weights} == {"float32"}


def test_images_of_another_size(model, backbone):
    larger = make_model(backbone, image_size=12)
    assert larger.decoder.num_image_tokens == 36
    inputs, *_ = lesson(larger)
    assert inputs["image"].shape == (4, 12, 12, 3)
    assert np.abs(larger(inputs) - model(lesson(model)[0])).max() > 1e-3
    for size in (9, (8, 12)):
        with pytest.raises(ValueError, match=r"square, and a multiple of 2.*Received"):
            kmmft.encoders.ImageEncoder.from_backbone(backbone, image_size=size)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("{question} or {text}", "`prompt` must be .* at most one"),
        ("{question} <start_of_image>", "once, before the name.*Received.*question"),
        ("<start_of_image> or <start_of_image>", "must have <start_of_image> once"),
        ("<start_of_turn>user\n{question}", "must say with <start_of_image> where"),
    ],
)
def test_bad_prompts(backbone, prompt, message):
    with pytest.raises(ValueError, match=message):
        make_model(backbone, prompt=prompt)


def test_bad_parts(backbone, model):
    reads = keras_hub.models.Gemma3Backbone(60, 8, 1, 2, 1, 8, 16, 4)
    with pytest.raises(
        ValueError, match=r"needs a vision encoder.*vision_encoder=None"
    ):
        make_model(reads)
    with pytest.raises(ValueError, match=r"must be an image encoder.*Gemma3Backbone"):
        kmmft.encoders.ImageEncoder.from_backbone(reads)
    gemma = keras_hub.models.GemmaBackbone(60, 1, 2, 1, 8, 16, 4)
    with pytest.raises(ValueError, match=r"must be a .*Gemma3Backbone.*GemmaBack"):
        Gemma3Decoder(gemma)
    plain = make_tokenizer(has_vision_tokens=False)
    with pytest.raises(ValueError, match=r"around an image.*Gemma3Tokenizer without"):
        make_model(backbone, tokenizer=plain)
    turnless = make_tokenizer([*IMAGE_PIECES, "\n"])
    with pytest.raises(ValueError, match="must have the token '<end_of_turn>'"):
        make_model(backbone, tokenizer=turnless)
    assert QUESTIONS[0] == "cat" and list(model.encoders) == ["image", "question"]
