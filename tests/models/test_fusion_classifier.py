import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "color", "red", "?"]
ANSWERS = ["blue", "red", "yes"]


def make_encoders(*names, dropout=0.0):
    encoders = {
        "image": lambda: kmmft.encoders.ImageEncoder(
            keras_hub.models.ViTBackbone((16, 16, 3), 8, 1, 2, 8, 16)
        ),
        "question": lambda: kmmft.encoders.TextEncoder(
            keras_hub.models.BertBackbone(len(WORDS), 1, 2, 8, 16, dropout=dropout),
            keras_hub.models.BertTokenizer(WORDS, lowercase=True),
            sequence_length=6,
        ),
    }
    return {name: encoders[name]() for name in names}


def make_model(names=("image", "question"), dropout=0.0, **kwargs):
    keras.utils.set_random_seed(1)
    fusion = kmmft.layers.ConcatFusion(hidden_dim=8) if len(names) > 1 else None
    kwargs = {"fusion": fusion, "class_names": ANSWERS, **kwargs}
    return kmmft.models.FusionClassifier(
        make_encoders(*names, dropout=dropout), **kwargs
    )


@pytest.fixture(scope="module")
def model():
    return make_model(hidden_dims=(8,), dropout_rate=0.1)


def png(value, size=20):
    picture = np.full((size, size, 3), value, np.uint8)
    return tf.io.encode_png(picture).numpy()


def batch_of(model, size=4):
    random = np.random.default_rng(0)
    raw = {
        "image": tf.constant([png(int(v)) for v in random.integers(0, 255, size)]),
        "question": tf.constant(["what color?", "red?", "", "what"] * (size // 4)),
    }
    return model.preprocess({name: raw[name] for name in model.encoders})


def test_inputs_are_named_as_in_the_batch(model):
    assert set(model.input) == {
        "image",
        "question_token_ids",
        "question_padding_mask",
    }
    assert model(batch_of(model)).shape == (4, 3)


def test_raw_answers_equal_those_of_prepared_inputs(model):
    raw = {"image": [png(10), png(200)], "question": ["red?", "what color?"]}
    answered = model.classify(raw, batch_size=1)
    logits = model.predict(
        model.preprocess({k: tf.constant(v) for k, v in raw.items()}), verbose=0
    )
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    expected = exponents / exponents.sum(-1, keepdims=True)
    np.testing.assert_allclose(answered["probabilities"], expected, atol=1e-6)
    best = [ANSWERS[index].encode() for index in expected.argmax(-1)]
    assert answered["label"].tolist() == best
    np.testing.assert_allclose(answered["probability"], expected.max(-1), atol=1e-6)


@pytest.mark.parametrize("names", [("image",), ("question",)])
def test_one_modality_needs_no_fusion(names):
    model = make_model(names)
    assert model(batch_of(model)).shape == (4, 3)


def test_save_and_load(model, tmp_path):
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    batch = batch_of(model)
    np.testing.assert_array_equal(again(batch), model(batch))
    assert again.class_names == ANSWERS and list(again.encoders) == [
        "image",
        "question",
    ]
    raw = {"image": [png(10)], "question": ["red?"]}
    np.testing.assert_array_equal(
        again.classify(raw)["probabilities"], model.classify(raw)["probabilities"]
    )


def test_half_precision_survives_a_file(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = make_model(hidden_dims=(8,))
    batch = batch_of(model)
    before = model(batch)
    assert before.dtype == "float32"
    model.save(tmp_path / "model.keras")
    keras.config.set_dtype_policy("float32")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.get_layer("head_0").compute_dtype == "bfloat16"
    np.testing.assert_array_equal(again(batch), before)


def test_training_moves_every_trained_weight_and_no_frozen_one():
    model = make_model()
    model.encoders["question"].trainable = False
    model.compile(keras.optimizers.SGD(0.1))
    before = {v.path: v.numpy() for v in model.variables}
    model.fit(batch_of(model), np.array([0, 1, 2, 0]), epochs=1, verbose=0)
    moved = {v.path for v in model.weights if (v.numpy() != before[v.path]).any()}
    trained = {v.path for v in model.trainable_variables}
    assert moved <= trained
    assert not any("text_encoder" in path for path in trained)
    # Without gradient: the key biases of attention, which softmax does not see, and
    # the replacements of modalities that are all there.
    idle = {path for path in trained - moved if "key/bias" not in path}
    assert all(path.endswith("_replacement") for path in idle)


def test_frozen_encoder_gives_the_same_features_in_training():
    model = make_model(("question",), dropout=0.5)
    batch = batch_of(model)
    assert np.abs(model(batch, training=True) - model(batch)).max() > 1e-3
    model.encoders["question"].trainable = False
    np.testing.assert_array_equal(model(batch, training=True), model(batch))


def test_class_weights_and_smoothing_reach_the_loss():
    model = make_model(("question",))
    batch, labels = batch_of(model), np.array([0, 0, 1, 2])
    model.compile(keras.optimizers.SGD(0.0), model.default_loss(label_smoothing=0.3))
    smooth = model.evaluate(batch, labels, verbose=0)[0]
    logits = model.predict(batch, verbose=0)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    targets = 0.7 * np.eye(3)[labels] + 0.1
    assert smooth == pytest.approx(-(targets * log_p).sum(-1).mean(), abs=1e-5)
    model.compile(keras.optimizers.SGD(0.0))
    fitted = model.fit(
        batch, labels, class_weight={0: 0.0, 1: 1.0, 2: 3.0}, verbose=0
    ).history["loss"][0]
    rows = -log_p[np.arange(4), labels]
    assert fitted == pytest.approx((rows[2] + 3 * rows[3]) / 4, abs=1e-5)


def test_multi_label():
    model = make_model(("question",), task="multi_label")
    model.compile("sgd", model.default_loss(focal_gamma=2.0))
    targets = np.eye(3)[[0, 1, 2, 0]]
    model.fit(batch_of(model), targets, verbose=0)
    answered = model.classify({"question": ["red?"]})
    assert answered["probabilities"].shape == (1, 3)
    assert list(answered) == ["probabilities"]


def test_regression():
    model = make_model(("question",), task="regression", class_names=["price"])
    model.compile("sgd")
    model.fit(batch_of(model), np.ones((4, 1)), verbose=0)
    assert model.classify({"question": ["red?"]})["values"].shape == (1, 1)
    with pytest.raises(ValueError, match="no classes to smooth"):
        model.default_loss(label_smoothing=0.1)


def test_missing_modality_cannot_influence_the_answer():
    model = make_model(missing_modalities=True)
    batch = batch_of(model)
    batch["image_present"] = tf.constant([False, True, False, True])
    before = model(batch).numpy()
    batch["image"] = batch["image"] * 0.0 + 77.0
    after = model(batch).numpy()
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    assert np.abs(after[[1, 3]] - before[[1, 3]]).max() > 1e-4


def test_mirrored_training_equals_one_device(two_replicas):
    """Also guards the mend: Keras alone cannot sum the boolean masks."""

    def trained():
        model = make_model()
        model.compile(keras.optimizers.SGD(0.1))
        inputs, labels = batch_of(model, size=8), np.arange(8) % 3
        data = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(8)
        model.fit(data, epochs=2, verbose=0)
        return [v.numpy() for v in model.trainable_variables]

    alone = trained()
    with two_replicas.scope():
        together = trained()
    for one, two in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_empty_raw_input_is_one_that_is_missing():
    model = make_model(missing_modalities=True)
    raw = {"image": [png(9), b"", png(9)], "question": ["red?", "red?", ""]}
    answered = model.classify(raw)["probabilities"]
    batch = model.preprocess(
        {"image": tf.constant([png(9)] * 3), "question": tf.constant(["red?"] * 3)}
    )
    batch["image_present"] = tf.constant([True, False, True])
    batch["question_present"] = tf.constant([True, True, False])
    expected = tf.nn.softmax(model(batch)).numpy()
    np.testing.assert_allclose(answered, expected, atol=1e-6)
    assert np.abs(expected[0] - expected[1:]).max(-1).min() > 1e-4


def test_records_with_a_missing_image_become_batches():
    model = make_model(missing_modalities=True)
    records = [
        model.decode_record(
            {"image": tf.constant(image), "question": tf.constant("red?"), "label": 1}
        )
        for image in (png(9), b"")
    ]
    batch = {key: tf.stack([r[key] for r in records]) for key in records[0]}
    inputs, label = model.prepare_batch(batch)
    assert inputs["image_present"].numpy().tolist() == [True, False]
    assert inputs["question_present"].numpy().tolist() == [True, True]
    assert label.numpy().tolist() == [1, 1] and set(inputs) == set(model.input)


def test_missing_image_is_an_error_where_none_may_be_missing(model):
    with pytest.raises(ValueError, match="row 0 of 'image', b'': Input is empty"):
        model.classify({"image": [b""], "question": ["red?"]})


def test_encoders_of_one_name():
    encoder = make_encoders("question")["question"]
    with pytest.raises(ValueError, match=r"different names.*text_encoder"):
        kmmft.models.FusionClassifier(
            {"premise": encoder, "hypothesis": make_encoders("question")["question"]},
            kmmft.layers.ConcatFusion(8),
            ANSWERS,
        )


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"task": "guess"}, "`task` must be one of.*Received: task='guess'"),
        ({"fusion": None}, r"need a fusion layer.*\['image', 'question'\]"),
        ({"class_names": ["yes"]}, "2 or more different names"),
        ({"class_names": ["yes", "yes"]}, "2 or more different names"),
    ],
)
def test_bad_settings(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_model(**kwargs)


def test_no_encoder():
    with pytest.raises(ValueError, match="needs an encoder"):
        kmmft.models.FusionClassifier({}, None, ANSWERS)


def test_bad_raw_inputs(model):
    with pytest.raises(ValueError, match=r"modalities \['image', 'question'\]"):
        model.classify({"image": [png(1)]})
    with pytest.raises(ValueError, match="same number of examples"):
        model.classify({"image": [png(1)], "question": ["a", "b"]})
    questions = ["a", "b", "c"]
    for wrong in (b"abc", png(1)[:40]):
        raw = {"image": [png(1), png(2), wrong], "question": questions}
        with pytest.raises(ValueError, match=r"row 2 of 'image', b'.*: \w+ ") as raised:
            model.classify(raw, batch_size=2)
        assert "Graph execution" not in str(raised.value)
    raw = {"image": [png(1)] * 3, "question": questions}
    with pytest.raises(ValueError, match=r"`batch_size` must be a whole.*0"):
        model.classify(raw, batch_size=0)
    with pytest.raises(ValueError, match=r"one string for \['question'\]"):
        model.classify({**raw, "question": "abc"})
    with pytest.raises(ValueError, match="int and str for 'question'"):
        model.classify({**raw, "question": ["a", "b", 1]})


def test_records_say_which_modality_is_missing():
    records = {
        "image": tf.zeros((2, 16, 16, 3)),
        "question": tf.constant(["red?", "red?"]),
        "label": tf.constant([0, 1]),
        "image_present": tf.constant([False, True]),
    }
    inputs, _ = make_model(missing_modalities=True).prepare_batch(records)
    assert inputs["image_present"].numpy().tolist() == [False, True]
    assert inputs["question_present"].numpy().tolist() == [True, True]


def test_presence_is_refused_where_it_would_be_ignored(model):
    raw = {"image": [png(1)], "question": ["red?"], "image_present": [False]}
    with pytest.raises(ValueError, match="image_present"):
        model.classify(raw)


def test_raw_answers_follow_a_plan_that_is_applied_later():
    model = make_model()
    raw = {"image": [png(10)], "question": ["red?"]}
    before = model.classify(raw)["probabilities"]
    kmmft.finetuning.presets.lora(rank=2).apply(model)
    for weight in model.trainable_weights:
        weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    expected = model.serve(**{k: tf.constant(v) for k, v in raw.items()})
    after = model.classify(raw)["probabilities"]
    np.testing.assert_allclose(after, expected["probabilities"], atol=1e-6)
    assert np.abs(after - before).max() > 1e-3
