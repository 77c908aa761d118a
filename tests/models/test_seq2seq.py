"""BART and T5 as encoder and decoder of one model, against `transformers`."""

import pathlib

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.encoders.families import TextFamily
from kmmft.encoders.presets import load_text_backbone
from kmmft.encoders.text_preprocessor import TextPreprocessor
from kmmft.models import BeamSearch, FusionGenerator
from tests.encoders.text_backbones import SIZES, TEXTS, byte_pairs

GOLDEN = pathlib.Path(__file__).parent / "golden"
LENGTH = 10
TASKS = {
    "bart": keras_hub.models.BartSeq2SeqLM,
    "t5": keras_hub.models.T5Seq2SeqLM,
}
SENTENCES = ["a cat sits", "the red bird", "", "dog"]
TARGETS = ["red cat", "mat", "", "a bird sits on the mat the cat"]


@pytest.fixture(scope="module", params=["bart", "t5", "t5_gated"])
def case(request):
    with np.load(GOLDEN / request.param / "outputs.npz") as file:
        expected = dict(file)
    model = FusionGenerator.from_preset(
        str(GOLDEN / request.param), 7, LENGTH, keep="end"
    )
    return model, expected


def inputs_of(expected):
    return {key: tf.constant(expected[key]) for key in ("token_ids", "padding_mask")}


def test_logits_equal_transformers(case):
    model, expected = case
    width = LENGTH - 1
    target = np.pad(expected["target_token_ids"], ((0, 0), (0, width - 5)))
    logits = model(
        {
            **inputs_of(expected),
            "target_token_ids": tf.constant(target, tf.int32),
            "target_padding_mask": tf.ones((6, width), bool),
        }
    )
    largest = np.abs(expected["logits"]).max()
    assert np.abs(logits[:, :5] - expected["logits"]).max() < 1e-5 * largest


def until_end(rows, model):
    """Written words by row, up to the end token."""
    rows = [row[len(model._texts.start_tokens) :] for row in np.asarray(rows).tolist()]
    end = model._texts.end_id
    return [row[: row.index(end)] if end in row else row for row in rows]


def test_greedy_texts_equal_transformers(case):
    model, expected = case
    written = tf.function(model.generate_tokens, autograph=False)(inputs_of(expected))
    rows = until_end(written, model)
    assert rows == until_end(expected["greedy"], model)
    assert len(set(map(tuple, rows))) > 2


@pytest.mark.slow
@pytest.mark.parametrize("case", ["bart", "t5_gated"], indirect=True)
def test_a_saved_model_shares_its_words_again(case, tmp_path):
    model, _ = case
    vectors = model.decoder.token_embedding
    half = model.encoders["text"].backbone.get_layer("encoder")
    assert half.get_layer("token_embedding") is vectors
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    half = again.encoders["text"].backbone.get_layer("encoder")
    assert half.get_layer("token_embedding") is again.decoder.token_embedding
    assert again.tokenizer is again.encoders["text"].tokenizer
    assert again.encoders["text"].keep == "end"
    assert len(again.weights) == len(model.weights)
    np.testing.assert_array_equal(
        again.decoder.token_embedding.embeddings, vectors.embeddings
    )
    clone = type(model).from_config(model.get_config())
    assert len(clone.weights) == len(model.weights)
    assert clone.decoder.token_embedding is not vectors
    raw = {"text": tf.constant(SENTENCES)}
    (texts, their_texts) = (
        one.generate_batch(one.preprocess(raw), BeamSearch(2)).tolist()
        for one in (model, again)
    )
    assert texts == their_texts and any(texts)


@pytest.mark.parametrize("name", TASKS)
def test_lessons_equal_kerashubs(name):
    backbone, tokenizer = TEXTS[name]()
    model = FusionGenerator.from_backbone(backbone, tokenizer, 8, LENGTH)
    batch = model.preprocess({"text": tf.constant(SENTENCES)})
    inputs, words, weights = model.teach(batch, tf.constant(TARGETS))
    task = TASKS[name](backbone)
    prepare = task.preprocessor_cls(tokenizer, 8, LENGTH - 1)
    theirs, their_words, _ = prepare(
        {"encoder_text": tf.constant(SENTENCES), "decoder_text": tf.constant(TARGETS)}
    )
    for own, other in {
        "target_token_ids": "decoder_token_ids",
        "target_padding_mask": "decoder_padding_mask",
    }.items():
        np.testing.assert_array_equal(inputs[own], theirs[other])
    np.testing.assert_array_equal(words, their_words)
    # Of the start tokens nothing is learnt.
    starts = len(model.decoder.start_tokens) - 1
    real = theirs["decoder_padding_mask"].numpy().sum(1) - starts
    ended = weights.numpy().sum(1)
    assert np.all((ended == real) | (ended == real - 1))
    logits = task({key: tf.cast(value, tf.int32) for key, value in theirs.items()})
    if name == "bart":  # KerasHub has a start token before the source, too
        np.testing.assert_array_equal(inputs["token_ids"], theirs["encoder_token_ids"])
    np.testing.assert_allclose(model(inputs), logits, atol=1e-5)


def test_both_halves_learn():
    backbone, tokenizer = TEXTS["t5"]()
    model = FusionGenerator.from_backbone(backbone, tokenizer, 8, LENGTH)
    batch = model.preprocess({"text": tf.constant(SENTENCES)})
    inputs, words, weights = model.teach(batch, tf.constant(TARGETS))
    with tf.GradientTape() as tape:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(words, model(inputs))
        loss = tf.reduce_sum(losses * weights)
    gradients = tape.gradient(loss, model.trainable_variables)
    assert len(gradients) == len(backbone.trainable_variables)
    for gradient in gradients:
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0


def updated(name):
    """Weights after one step on four texts of unequal length."""
    keras.utils.set_random_seed(1)
    _, tokenizer = TEXTS[name]()
    kind = {"bart": keras_hub.models.BartBackbone, "t5": keras_hub.models.T5Backbone}
    backbone = kind[name](60 if name == "t5" else 40, **SIZES, dropout=0.0)
    model = FusionGenerator.from_backbone(backbone, tokenizer, 8, LENGTH)
    random = np.random.default_rng(0)
    for weight in model.trainable_weights:  # BART's begin too small to move
        weight.assign(weight + 0.3 * random.normal(size=weight.shape))
    model.compile(keras.optimizers.SGD(0.1))
    batch = model.preprocess({"text": tf.constant(SENTENCES)})
    lesson = model.teach(batch, tf.constant(TARGETS))
    before = [weight.numpy() for weight in model.trainable_weights]
    model.fit(tf.data.Dataset.from_tensor_slices(lesson).batch(4), verbose=0)
    return before, [weight.numpy() for weight in model.trainable_weights]


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_replicas_equal_one_device(name, two_replicas):
    before, alone = updated(name)
    with two_replicas.scope():
        _, together = updated(name)
    for one, two in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
    moved = [np.abs(a - b).max() for a, b in zip(before, alone, strict=True)]
    assert np.median(moved) > 1e-4


@pytest.mark.parametrize("keep", ["start", "end"])
def test_which_part_of_a_long_text_is_kept(keep):
    tokenizer = byte_pairs(keras_hub.models.BartTokenizer)
    texts = tf.constant(["a cat sits on the mat", "a", ""])
    cut, whole = (
        TextPreprocessor(tokenizer, length, TextFamily(), keep)(texts)["token_ids"]
        for length in (8, 40)
    )
    start, end = tokenizer.start_token_id, tokenizer.end_token_id
    tokens = whole.numpy()[0].tolist()
    tokens = tokens[1 : tokens.index(end)]
    kept = tokens[:6] if keep == "start" else tokens[-6:]
    assert len(tokens) > 6 and cut[0].numpy().tolist() == [start, *kept, end]
    np.testing.assert_array_equal(cut[1:], whole[1:, :8])


def test_bad_parts(tmp_path):
    bert, tokenizer = TEXTS["bert"]()
    with pytest.raises(ValueError, match=r"must be a BART, a T5, a PaliGemma.*BertB"):
        FusionGenerator.from_backbone(bert, tokenizer, 8, 9)
    for decoder in (kmmft.models.BartDecoder, kmmft.models.T5Decoder):
        with pytest.raises(ValueError, match=r"`backbone` must be .*BertBackbone"):
            decoder(bert)
    half = keras_hub.models.T5Backbone(9, 1, 2, 8, 16, dtype="mixed_float16")
    with pytest.raises(ValueError, match=r"not work in float16.*mixed_float16"):
        kmmft.models.T5Decoder(half)
    bart, tokenizer = TEXTS["bart"]()
    with pytest.raises(ValueError, match="`max_length` must be 4 or more"):
        FusionGenerator.from_backbone(bart, tokenizer, 8, 3)
    with pytest.raises(ValueError, match=r"`read_directly` must name.*'picture'"):
        FusionGenerator.from_backbone(
            bart, tokenizer, 8, 9, read_directly=["text", "picture"]
        )
    with pytest.raises(ValueError, match="`keep` must be 'start' or 'end'"):
        FusionGenerator.from_backbone(bart, tokenizer, 8, 9, keep="middle")
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(ValueError, match=r"words in spiece\.model"):
        load_text_backbone(str(tmp_path), load_weights=True)
