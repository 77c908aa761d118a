"""What holds for every pretrained writer that sees images."""

import pathlib

import keras
import numpy as np
import tensorflow as tf

import kmmft
from kmmft.models import BeamSearch, FusionGenerator
from tests.export.test_export_model import answers_here
from tests.models.pali_gemma_cases import ANSWERS, lesson, raw_of


def assert_near(values, expected):
    values, expected = np.array(values), np.array(expected)
    assert np.abs(values - expected).max() < 1e-5 * np.abs(expected).max()


def check_equals_transformers(folder: pathlib.Path, prompt):
    """Greedy texts, and the logits of each word of them, of a golden checkpoint."""
    with np.load(folder / "outputs.npz") as file:
        expected = dict(file)
    tokens, logits = expected["tokens"], expected["logits"]
    length = tokens.shape[1] + 1
    model = FusionGenerator.from_preset(str(folder), 40, length, prompt=prompt)
    files = [tf.io.encode_png(image).numpy() for image in expected["image"]]
    raw = {"image": files, "question": expected["question"].tolist()}
    batch = model.preprocess({name: tf.constant(own) for name, own in raw.items()})
    written = tf.function(model.generate_tokens, autograph=False)(batch).numpy()
    np.testing.assert_array_equal(written[:, 1:], tokens)
    batch["target_token_ids"] = tf.constant(written[:, :-1])
    batch["target_padding_mask"] = tf.ones(written[:, :-1].shape, bool)
    assert_near(model(batch), logits)


def check_cached_steps(decoder, images=0, reads_start=False):
    """They equal one pass, padding is not read, and no word those behind it.

    Args:
        decoder: Of 18 words or more.
        images: How many of the context's first tokens are an image's, never padding.
        reads_start: Whether a start token's own vector is read.
    """
    random = np.random.default_rng(1)
    token_ids = tf.constant(random.integers(0, 18, (4, 5)), tf.int32)
    context = random.normal(size=(4, 8 + images, decoder.hidden_dim))
    context = tf.constant(context, tf.float32)
    words = random.random((4, 8)) > 0.4
    mask = tf.constant(np.concatenate([np.ones((4, images), bool), words], axis=1))
    whole = decoder(token_ids, context, mask)
    memory, cache = decoder.begin(context, mask, 5)
    for place in range(5):
        words = token_ids[:, place : place + 1]
        logits, cache = decoder.step(words, tf.constant(place), memory, cache)
        np.testing.assert_allclose(logits, whole[:, place], atol=1e-5)
    hidden = tf.where(mask[:, :, None], context, 77.0)
    np.testing.assert_allclose(decoder(token_ids, hidden, mask), whole, atol=1e-5)
    start = token_ids[:, :1] + (0 if reads_start else 1)
    changed = tf.concat([start, token_ids[:, 1:3], token_ids[:, 3:] - 1], 1) % 18
    again = decoder(changed, context, mask)
    np.testing.assert_allclose(again[:, :3], whole[:, :3], atol=1e-5)
    assert np.abs(again[:, 3:] - whole[:, 3:]).max() > 1e-3


def check_constant_prompt(model, constant):
    """A prompt with the question "cat" in it is read as that question of all."""
    assert list(constant.encoders) == ["image"]
    inputs, *_ = lesson(constant)
    asked = {**raw_of(model), "question": tf.constant(["cat"] * 4)}
    expected, *_ = model.teach(model.preprocess(asked), tf.constant(ANSWERS))
    logits = model(expected)
    np.testing.assert_allclose(constant(inputs), logits, atol=1e-5)
    assert_near(constant(inputs), logits)


def check_copies_share_words(model):
    config = model.get_config()
    for again in (FusionGenerator.from_config(config) for _ in range(2)):
        assert len(again.weights) == len(model.weights)
        words = again.decoder.token_embedding
        assert words is not model.decoder.token_embedding
        assert words in again.encoders["question"].backbone.layers
        again.set_weights(model.get_weights())
    inputs, *_ = lesson(model)
    np.testing.assert_allclose(again(inputs), model(inputs), atol=1e-6)


def check_low_rank_changes(model, count):
    """`count` weights of the decoder learn, and the logits change with them."""
    inputs, words, weights = lesson(model)
    before = np.array(model(inputs))
    kmmft.finetuning.presets.lora_only(2).apply(model)
    model.compile("sgd", jit_compile=False)
    assert len(model.trainable_variables) == count
    for weight in model.trainable_variables:
        assert weight.name.startswith("lora_") and weight.dtype == "float32"
        weight.assign(np.random.default_rng(3).normal(size=weight.shape))
    with tf.GradientTape() as tape:
        logits = model(inputs)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(words, logits)
        loss = tf.reduce_sum(losses * weights)
    assert np.abs(logits - before).max() > 1e-2
    for gradient in tape.gradient(loss, model.trainable_variables):
        assert np.abs(gradient).max() > 1e-4
    kmmft.finetuning.merge_adapters(model)
    np.testing.assert_allclose(model(inputs), logits, atol=1e-4)


def check_half_precision(full, half):
    """Of the same weights, and from its config, half precision writes nearly alike.

    Returns:
        What came back from the config of `half`.
    """
    inputs, *_ = lesson(full)
    expected = np.array(full(inputs))
    half = FusionGenerator.from_config(half.get_config())
    half.set_weights(full.get_weights())
    logits = half(inputs)
    assert logits.dtype == tf.float32
    error = np.abs(logits - expected).max() / np.abs(expected).max()
    assert 1e-5 < error < 0.05
    context = tf.cast(half.encoders["image"](inputs["image"])["tokens"], "float32")
    memory, cache = half.decoder.begin(context, tf.ones(context.shape[:2], bool), 3)
    logits, _ = half.decoder.step(tf.ones((4, 1), tf.int32), 0, memory, cache)
    assert np.all(np.isfinite(logits))
    return half


def check_round_trips(model, raw, folder, monkeypatch):
    monkeypatch.setattr(kmmft.export.parity, "answers_in_fresh_process", answers_here)
    texts = model.generate(raw)
    assert len(set(texts)) > 1
    model.save(folder / "model.keras")
    again = keras.saving.load_model(folder / "model.keras")
    assert again.tokenizer is again.encoders["question"].tokenizer
    assert again.generate(raw) == texts
    search = BeamSearch(2)
    assert again.generate(raw, search=search) == model.generate(raw, search=search)
    path = kmmft.export.export_model(model, folder / "export", raw)
    served = tf.saved_model.load(str(path)).signatures["serving_default"]
    answers = served(**raw)["text"].numpy().tolist()
    assert [answer.decode() for answer in answers] == texts
