import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.export import parity
from tests.export.test_export_model import answers_here

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "blue", "square"]
TEXTS = ["red square", "blue", "", "square red blue"]
IMAGES = tf.constant(
    np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)).astype("float32")
)


def make_model():
    keras.utils.set_random_seed(0)
    tokenizer = kmmft.models.ImageTokenizer(
        8, num_codes=6, code_dim=2, widths=(4, 4), blocks=0, discriminator_widths=(4,)
    )
    text = kmmft.encoders.TextEncoder(
        keras_hub.models.BertBackbone(len(WORDS), 1, 2, 8, 16, dropout=0.0),
        keras_hub.models.BertTokenizer(WORDS, lowercase=True),
        sequence_length=5,
    )
    model = kmmft.models.TextToImage(
        text, tokenizer, hidden_dim=8, num_layers=2, num_heads=2
    )
    # Positions of their own, so that a wrong one would be seen.
    positions = model.positions.position_embeddings
    positions.assign(np.random.default_rng(1).normal(size=positions.shape))
    model.compile(keras.optimizers.SGD(0.5))
    return model


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def inputs(model):
    return model.prepare_batch({"text": tf.constant(TEXTS), "image": IMAGES})


def test_loss_is_the_mean_cross_entropy_of_the_codes(model, inputs):
    outputs = model(inputs)
    codes = model.image_tokenizer.encode(IMAGES)
    np.testing.assert_array_equal(outputs["image_token_ids"], codes)
    chances = np.take_along_axis(
        np.asarray(tf.nn.log_softmax(outputs["logits"])), codes[..., None], axis=-1
    )
    found = model.compute_loss(y_pred=outputs)
    np.testing.assert_allclose(found, -chances.mean(), rtol=1e-5)


def test_half_precision(model, inputs):
    # In `mixed_float16` Keras scales the loss; the tokenizer's test trains in that.
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = make_model()
    finally:
        keras.config.set_dtype_policy("float32")
    half.set_weights(model.get_weights())
    expected = model(inputs)
    outputs = half(inputs)
    np.testing.assert_allclose(outputs["logits"], expected["logits"], atol=0.05)
    before = half.code_logits.kernel.numpy()
    (loss,) = half.fit(tf.data.Dataset.from_tensors(inputs), verbose=0).history["loss"]
    np.testing.assert_allclose(loss, model.compute_loss(y_pred=expected), rtol=1e-2)
    assert np.abs(half.code_logits.kernel - before).max() > 1e-3
    assert half.generate(TEXTS).shape == (4, 8, 8, 3)


def test_no_code_sees_itself_or_later_ones(model, inputs):
    before = np.asarray(model(inputs)["logits"])
    changed = tf.concat([IMAGES[:, :4], 255 - IMAGES[:, 4:]], axis=1)
    after = np.asarray(model({**inputs, "image": changed})["logits"])
    codes = [model.image_tokenizer.encode(x) for x in (IMAGES, changed)]
    row, first = next(zip(*np.nonzero(codes[0] != codes[1]), strict=True))
    np.testing.assert_allclose(
        before[row, : first + 1], after[row, : first + 1], atol=1e-5
    )
    assert np.abs(before[row, first + 1 :] - after[row, first + 1 :]).max() > 1e-4


def test_cached_drawing_is_the_models_own_likeliest_codes(model, inputs):
    """Codes of `generate`, one after the other from the cache, against whole passes."""
    drawn = model.generate(TEXTS, temperature=0.0)
    codes = np.zeros((4, model.code_count), np.int32)
    text = model.text_encoder(model.select("text", inputs))
    mask = np.concatenate([text["mask"], np.ones_like(codes, bool)], axis=1)
    for place in range(model.code_count):
        before = np.concatenate([np.full((4, 1), 6), codes[:, :-1]], axis=1)
        x = tf.concat(
            [model.text_projection(text["tokens"]), model.code_embedding(before)], 1
        )
        x += model.positions(x)
        for block in model.blocks:
            x = block(x, decoder_padding_mask=mask)
        logits = model.code_logits(model.last_norm(x[:, model.text_length + place]))
        codes[:, place] = np.argmax(logits, axis=-1)
    assert len(np.unique(codes)) > 1
    np.testing.assert_array_equal(drawn, model.image_tokenizer.decode(codes))


def test_seeds(model):
    first, again, other = (model.generate(TEXTS, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    with pytest.raises(ValueError, match="Received: none"):
        model.generate([])


class Brightness:
    """Ranks dark pictures first for "blue", bright ones for all other texts."""

    def encode_image(self, files):
        light = [tf.reduce_mean(tf.cast(tf.io.decode_png(f), "float32")) for f in files]
        return np.stack([light, np.ones(len(files))], axis=1)

    def encode_text(self, texts):
        return np.array([[-1 if text == "blue" else 1, 0] for text in texts])


def test_the_ranker_keeps_the_best_candidate(model):
    drawn = model.generate(np.repeat(TEXTS, 3), seed=2)
    kept = model.generate(TEXTS, seed=2, candidates=3, ranker=Brightness())
    light = drawn.reshape(4, 3, -1).mean(axis=-1)
    best = [
        one.argmin() if t == "blue" else one.argmax()
        for t, one in zip(TEXTS, light, strict=True)
    ]
    assert len(np.unique(light[1])) > 1
    expected = drawn.reshape(4, 3, 8, 8, 3)[np.arange(4), best]
    np.testing.assert_array_equal(kept, expected)


@pytest.mark.parametrize(
    "wrong", [{"candidates": 2}, {"ranker": Brightness()}, {"candidates": 0}]
)
def test_candidates_and_ranker_belong_together(model, wrong):
    with pytest.raises(ValueError, match="Received: candidates="):
        model.generate(TEXTS, **wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        # It would draw the unlikeliest codes.
        ({"temperature": -1.0}, r"`temperature` must not be negative.*-1"),
        ({"temperature": float("inf")}, "finite.*temperature=inf"),
        ({"guidance_scale": float("nan")}, "finite.*guidance_scale=nan"),
        ({"top_k": 0}, "`top_k` must be a whole number from 1.*0"),
        ({"top_p": 2.0}, "`top_p` must be in"),
    ],
)
def test_bad_settings_of_a_drawing(model, wrong, message):
    with pytest.raises(ValueError, match=message) as raised:
        model.generate(TEXTS, **wrong)
    assert "in user code" not in str(raised.value)


def test_guidance(model):
    seeds = tf.zeros(len(TEXTS), tf.int32)

    def draw(texts, scale):
        return model.draw_texts(tf.constant(texts), seeds, scale, 0.0).numpy()

    # Without a difference that the text makes there is nothing to guide.
    empty = [""] * len(TEXTS)
    np.testing.assert_array_equal(draw(empty, 1.0), draw(empty, 3.0))
    assert (draw(TEXTS, 30.0) != draw(TEXTS, 1.0)).any()


def test_replicas_train_as_one_device_and_the_tokenizer_does_not(two_replicas):
    dataset = tf.data.Dataset.from_tensors({"text": TEXTS, "image": IMAGES})
    weights = []
    for scope in (two_replicas.scope(), None):
        if scope:
            with scope:
                trained = make_model()
        else:
            trained = make_model()
        frozen = [v.numpy() for v in trained.image_tokenizer.weights]
        start = [v.numpy() for v in trained.trainable_variables]
        batches = dataset.map(trained.prepare_batch)
        trained.fit(batches.repeat(2), verbose=0)
        weights.append([v.numpy() for v in trained.weights])
        for old, new in zip(frozen, trained.image_tokenizer.weights, strict=True):
            np.testing.assert_array_equal(old, new.numpy())
        moved = zip(start, trained.trainable_variables, strict=True)
        assert sum((old != new.numpy()).any() for old, new in moved) > len(start) / 2
    for there, here in zip(*weights, strict=True):
        np.testing.assert_allclose(there, here, atol=1e-5)


def test_saved_loaded_and_exported(model, inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "answers_in_fresh_process", answers_here)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        loaded(inputs)["logits"], model(inputs)["logits"], atol=1e-5
    )
    model.serving_settings = {"top_k": 3}
    seeds = tf.constant([5, 5, 6, 7])
    raw = {"text": TEXTS, "seed": seeds}
    path = kmmft.export.export_model(model, tmp_path / "export", raw)
    served = tf.saved_model.load(path).signatures["serving_default"](
        text=tf.constant(TEXTS), seed=seeds
    )
    images = [tf.io.decode_png(png).numpy() for png in served["image"].numpy()]
    expected = model.draw_texts(tf.constant(TEXTS), seeds, top_k=3)
    np.testing.assert_array_equal(images, expected)


def test_heads_must_divide(model):
    with pytest.raises(ValueError, match="num_heads=3"):
        kmmft.models.TextToImage(
            model.text_encoder, model.image_tokenizer, hidden_dim=8, num_heads=3
        )
