import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from tests.models.test_fusion_classifier import ANSWERS, make_encoders, make_model, png

QUESTIONS = ["red?", "what color?", "", "what"]
PICTURES = [png(9), b"", png(90), png(200)]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    return kmmft.models.FusionClassifier(
        make_encoders("image", "question"),
        kmmft.layers.GatedFusion(hidden_dim=8, modality_dropout_rate=0.3),
        ANSWERS,
        hidden_dims=(8,),
        dropout_rate=0.5,
        missing_modalities=True,
    )


def batches(model):
    raw = {"image": tf.constant(PICTURES), "question": tf.constant(QUESTIONS)}
    records = {"id": list("abcd"), "label": [0, 1, 2, 0]}
    data = tf.data.Dataset.from_tensor_slices({**model.preprocess(raw), **records})
    return data.batch(3)


@pytest.fixture(scope="module")
def answers(model):
    return kmmft.evaluation.predict_subsets(model, batches(model))


def test_subsets_come_with_the_largest_first():
    assert kmmft.evaluation.modality_subsets("abc") == [
        *(("a", "b", "c"), ("a", "b"), ("a", "c"), ("b", "c")),
        *(("a",), ("b",), ("c",)),
    ]


def test_answers_are_those_to_empty_strings(model, answers):
    assert list(answers) == [("image", "question"), ("image",), ("question",)]
    nothing = [b""] * 4
    for subset, found in answers.items():
        raw = {
            "image": PICTURES if "image" in subset else nothing,
            "question": QUESTIONS if "question" in subset else nothing,
        }
        expected = model.classify(raw)["probabilities"]
        np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    full, image, question = (found.probabilities for found in answers.values())
    assert np.abs(full - image).max() > 1e-4 and np.abs(full - question).max() > 1e-4


def test_what_a_record_lacks_stays_missing(answers):
    given = [found.records["given"].tolist() for found in answers.values()]
    assert given == [
        [True, True, True, True],
        [True, False, True, True],
        [True, True, False, True],
    ]
    full, image, question = (found.probabilities for found in answers.values())
    np.testing.assert_allclose(question[1], full[1], atol=1e-6)
    np.testing.assert_allclose(image[2], full[2], atol=1e-6)


def test_numbers_by_hand(answers):
    metrics = kmmft.evaluation.subset_metrics(answers, ANSWERS)
    found = answers["image",]
    right = found.classes == np.array([0, 1, 2, 0])
    assert metrics["given/image/accuracy"] == right.mean()
    expected = found.metrics(ANSWERS)["macro_f1"]
    assert metrics["given/image/macro_f1"] == expected
    assert metrics["given/image/records"] == 0.75
    assert metrics["given/image+question/records"] == 1.0
    table = kmmft.evaluation.subset_table(metrics)
    assert [row[0] for row in table.rows] == ["image + question", "image", "question"]
    assert table.rows[1] == ["image", right.mean(), expected, 0.75]


def test_two_halves_are_the_model(model):
    batch = next(iter(batches(model)))
    inputs = {name: batch[name] for name in model.input}
    features = model.encode_modalities(inputs)
    present = {name: inputs[f"{name}_present"] for name in model.encoders}
    logits = model.classify_features(features, present)
    np.testing.assert_allclose(logits, model(inputs), atol=1e-6)
    # On symbolic inputs it is a model of its own, whose training is the model's.
    symbols = tf.nest.map_structure(
        lambda x: keras.Input(x.shape[1:], dtype=x.dtype), (features, present)
    )
    head = keras.Model(symbols, model.classify_features(*symbols))
    assert not set(map(id, head.weights)) - set(map(id, model.weights))
    np.testing.assert_allclose(head((features, present)), logits, atol=1e-6)
    dropped = head((features, present), training=True)
    assert np.abs(dropped - logits).max() > 1e-4


def test_a_model_that_needs_all():
    model = make_model(("question",))
    with pytest.raises(ValueError, match="Received: missing_modalities=False"):
        kmmft.evaluation.predict_subsets(model, None)
