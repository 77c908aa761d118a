"""PaliGemma as the parts of one model, against KerasHub and `transformers`."""

import pathlib

import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.models import FusionGenerator
from tests.models.pali_gemma_cases import (
    ANSWERS,
    FILES,
    IMAGES,
    LENGTH,
    PROMPT,
    QUESTIONS,
    SIZE,
    lesson,
    make_backbone,
    make_model,
    make_tokenizer,
    raw_of,
)
from tests.models.writer_checks import (
    check_cached_steps,
    check_constant_prompt,
    check_copies_share_words,
    check_equals_transformers,
    check_half_precision,
    check_low_rank_changes,
    check_round_trips,
)

GOLDEN = pathlib.Path(__file__).parent / "golden/pali_gemma"


@pytest.fixture(scope="module")
def backbone():
    # As PaliGemma 2, with windows smaller than the sequence.
    return make_backbone(
        num_layers=2,
        use_post_ffw_norm=True,
        use_post_attention_norm=True,
        final_logit_soft_cap=30,
        attention_logit_soft_cap=50,
        use_sliding_window_attention=True,
        sliding_window_size=6,
    )


@pytest.fixture(scope="module")
def model(backbone):
    return make_model(backbone)


@pytest.fixture(scope="module")
def task(backbone):
    converter = keras_hub.layers.PaliGemmaImageConverter(
        (SIZE, SIZE), scale=1 / 127.5, offset=-1.0
    )
    preprocessor = keras_hub.models.PaliGemmaCausalLMPreprocessor(
        make_tokenizer(), converter, sequence_length=40
    )
    return keras_hub.models.PaliGemmaCausalLM(
        backbone=backbone, preprocessor=preprocessor
    )


def prompts():
    return [PROMPT.format(question=question) + "\n" for question in QUESTIONS]


def test_lessons_equal_kerashubs(model, task):
    inputs, words, weights = lesson(model)
    theirs, their_words, their_weights = task.preprocessor(
        {"images": IMAGES, "prompts": prompts(), "responses": ANSWERS}
    )
    # All that KerasHub teaches, but of the longest answer, which is cut here.
    kept = weights.numpy() > 0
    kept[3] = False
    their_kept = np.array(their_weights)
    their_kept[3] = False
    words, their_words = words.numpy()[kept], np.array(their_words)[their_kept]
    np.testing.assert_array_equal(words, their_words)
    assert len(words) == 15
    logits = np.array(model(inputs))[kept]
    expected = np.array(task(theirs))[their_kept]
    assert np.abs(logits - expected).max() < 1e-5 * np.abs(expected).max()


def test_equals_transformers():
    check_equals_transformers(GOLDEN, "answer en {question}")


def test_cached_steps_equal_one_pass(backbone):
    check_cached_steps(kmmft.models.PaliGemmaDecoder(backbone, [2, 7, 4]))


def test_a_constant_prompt_is_read_as_a_question_of_that_text(model, backbone):
    check_constant_prompt(model, make_model(backbone, prompt="the cat on"))


def test_a_copy_shares_its_words_again(model):
    check_copies_share_words(model)


@pytest.mark.slow
def test_greedy_texts_equal_kerashubs(model, task):
    generate = tf.function(model.generate_tokens, autograph=False)
    written = generate(model.preprocess(raw_of(model))).numpy()[:, 1:]
    theirs = tf.function(task.generate_step, autograph=False)
    rows = []
    for image, prompt in zip(IMAGES, prompts(), strict=True):
        # One by one: KerasHub reads the end of the longer prompts of a batch again,
        # without a look ahead.
        packed = task.preprocessor.generate_preprocess(
            {"images": image[None], "prompts": [prompt]}
        )
        packed = {name: tf.constant(np.array(value)) for name, value in packed.items()}
        answer = theirs(packed)["token_ids"].numpy()[0]
        rows.append(answer[packed["padding_mask"].numpy().sum() :][: LENGTH - 1])
    np.testing.assert_array_equal(written, rows)
    assert len(set(map(tuple, rows))) > 2


@pytest.mark.slow
def test_a_saved_and_an_exported_model_write_the_same(model, tmp_path, monkeypatch):
    check_round_trips(model, raw_of(model), tmp_path, monkeypatch)


def test_depths_and_low_rank_changes():
    model = make_model()
    depths = kmmft.finetuning.layer_depths(model)
    vit = f"image_encoder/{model.encoders['image'].backbone.name}"
    block = f"{vit}/image_encoder/encoder_block_0"
    expected = {
        f"{vit}/image_encoder/encoder_embeddings/embedding_conv/kernel": 0,
        f"{block}/multi_head_attention/query_proj/kernel": 1,
        f"{vit}/image_classifier/kernel": 2,
        "decoder/token_embedding/embeddings": 0,
        "decoder/decoder_block_0/attention/query/kernel": 1,
        "decoder/final_normalization/scale": 2,
    }
    assert {path: depths[path] for path in expected} == expected
    check_low_rank_changes(model, 4)


@pytest.mark.slow
def test_half_precision():
    full = make_model()
    for policy in ("bfloat16", "mixed_float16"):
        half = check_half_precision(full, make_model(make_backbone(dtype=policy)))
        wanted = "bfloat16" if policy == "bfloat16" else "float32"
        assert {weight.dtype for weight in half.weights} == {wanted}


def test_images_of_another_size(backbone):
    encoder = kmmft.encoders.ImageEncoder.from_backbone(backbone, image_size=12)
    assert encoder(np.zeros((1, 12, 12, 3)))["tokens"].shape == (1, 9, 8)
    for size in (10, (8, 12)):
        with pytest.raises(ValueError, match=r"square, and a multiple of 4.*Received"):
            kmmft.encoders.ImageEncoder.from_backbone(backbone, image_size=size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": "{question} or {text}"}, "`prompt` must be .* at most one"),
        ({"prompt": "answer {image}"}, "`prompt` must be .*'answer {image}'"),
        ({"prompt": "answer {"}, "`prompt` must be .*'answer {'"),
        ({"prompt": "the cat sits on the mat, a bird"}, "must hold the prompt.*=24"),
    ],
)
def test_bad_prompts(backbone, options, message):
    with pytest.raises(ValueError, match=message):
        make_model(backbone, **options)


def test_bad_parts(backbone):
    gemma = keras_hub.models.GemmaBackbone(60, 1, 2, 1, 8, 16, 4)
    with pytest.raises(
        ValueError, match=r"a BART, a T5, a PaliGemma, a Gemma 3 or a BLIP-2.*Gem"
    ):
        make_model(gemma, prompt=None)
    bart = keras_hub.models.BartBackbone(60, 1, 2, 8, 16)
    with pytest.raises(
        ValueError, match=r"are for a writer that sees.*prompt='a'.*BartBack"
    ):
        make_model(bart, prompt="a")
    for part in (kmmft.models.PaliGemmaDecoder, kmmft.encoders.PromptEncoder):
        with pytest.raises(
            ValueError, match=r"must be a .*PaliGemmaBackbone.*GemmaBack"
        ):
            part(gemma)
    with pytest.raises(ValueError, match="must have the token '\\\\n'"):
        FusionGenerator.from_backbone(backbone, make_tokenizer("x"), 24, LENGTH)
    model = make_model(backbone, prompt=None)
    with pytest.raises(ValueError, match=r"for the modalities \['image'\]"):
        model.generate({"image": FILES, "question": QUESTIONS})
