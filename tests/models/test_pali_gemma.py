"""PaliGemma as the parts of one model, against KerasHub and `transformers`."""

import pathlib

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.models import BeamSearch, FusionGenerator
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

GOLDEN = pathlib.Path(__file__).parent / "golden/pali_gemma"


@pytest.fixture(scope="module")
def backbone():
    # As PaliGemma 2, with windows smaller than the sequence.
    return make_backbone(
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
        make_tokenizer(), converter, sequence_length=30
    )
    return keras_hub.models.PaliGemmaCausalLM(backbone, preprocessor)


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
    assert len(words) == 10
    logits = np.array(model(inputs))[kept]
    expected = np.array(task(theirs))[their_kept]
    assert np.abs(logits - expected).max() < 1e-5 * np.abs(expected).max()


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


def test_equals_transformers():
    with np.load(GOLDEN / "outputs.npz") as file:
        expected = dict(file)
    tokens, logits = expected["tokens"], expected["logits"]
    model = FusionGenerator.from_preset(
        str(GOLDEN), 40, tokens.shape[1] + 1, prompt="answer en {question}"
    )
    files = [tf.io.encode_png(image) for image in expected["image"]]
    raw = {"image": files, "question": expected["question"].tolist()}
    batch = model.preprocess({name: tf.constant(own) for name, own in raw.items()})
    written = tf.function(model.generate_tokens, autograph=False)(batch).numpy()
    np.testing.assert_array_equal(written[:, 1:], tokens)
    batch["target_token_ids"] = tf.constant(written[:, :-1])
    batch["target_padding_mask"] = tf.ones(written[:, :-1].shape, bool)
    own = np.array(model(batch))
    assert np.abs(own - logits).max() < 1e-5 * np.abs(logits).max()


def test_cached_steps_equal_one_pass(backbone):
    decoder = kmmft.models.PaliGemmaDecoder(backbone, prompt_ids=[2, 7, 4])
    random = np.random.default_rng(1)
    token_ids = tf.constant(random.integers(0, 40, (4, 5)), tf.int32)
    context = tf.constant(random.normal(size=(4, 8, 8)), tf.float32)
    mask = tf.constant(random.random((4, 8)) > 0.4)
    whole = decoder(token_ids, context, mask)
    memory, cache = decoder.begin(context, mask, 5)
    for place in range(5):
        words = token_ids[:, place : place + 1]
        logits, cache = decoder.step(words, tf.constant(place), memory, cache)
        np.testing.assert_allclose(logits, whole[:, place], atol=1e-5)
    hidden = tf.where(mask[:, :, None], context, 77.0)
    np.testing.assert_allclose(decoder(token_ids, hidden, mask), whole, atol=1e-5)
    # The start token's vector is not read, and no word sees those behind it.
    changed = tf.concat([token_ids[:, :1] + 1, token_ids[:, 1:3], token_ids[:, 3:] + 1], 1)
    again = decoder(changed, context, mask)
    np.testing.assert_allclose(again[:, :3], whole[:, :3], atol=1e-5)
    assert np.abs(again[:, 3:] - whole[:, 3:]).max() > 1e-3


def test_a_constant_prompt_is_read_as_a_question_of_that_text(model, backbone):
    constant = make_model(backbone, prompt="the cat on")
    assert list(constant.encoders) == ["image"]
    inputs, *_ = lesson(constant)
    asked = {**raw_of(model), "question": tf.constant(["cat"] * 4)}
    expected, *_ = model.teach(model.preprocess(asked), tf.constant(ANSWERS))
    np.testing.assert_allclose(constant(inputs), model(expected), atol=1e-5)


def test_a_saved_model_shares_its_words_again(model, tmp_path):
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert len(again.weights) == len(model.weights)
    assert again.tokenizer is again.encoders["question"].tokenizer
    for one, other in zip(model.weights, again.weights, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    search = BeamSearch(2)
    texts = model.generate(raw_of(model), search=search)
    assert again.generate(raw_of(again), search=search) == texts and any(texts)
    served = kmmft.export.export_model(model, tmp_path / "export", raw_of(model))
    served = tf.saved_model.load(str(served)).signatures["serving_default"]
    answers = served(**raw_of(model))["text"].numpy().tolist()
    assert [answer.decode() for answer in answers] == model.generate(raw_of(model))
