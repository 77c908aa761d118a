import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from tests.models.test_fusion_classifier import make_encoders, png

CLASSES = ["no", "yes"]
RAW = {
    "image": [png(9), b"", png(90), png(200)] * 4,
    "age": [61.0, 30.0, float("nan"), 45.0] * 4,
}
LABELS = [0, 1, 0, 0] * 4


def make_model(image, table, seed=4, **kwargs):
    keras.utils.set_random_seed(seed)
    return kmmft.models.FusionClassifier(
        {"image": image, "table": table},
        kmmft.layers.GatedFusion(8, **kwargs),
        CLASSES,
        missing_modalities=True,
    )


def make_table():
    return kmmft.encoders.TabularEncoder({"age": (50.0, 20.0)}, (), 8, 1, 2)


@pytest.fixture(scope="module")
def image():
    encoder = make_encoders("image")["image"]
    encoder.trainable = False
    return encoder


@pytest.fixture(scope="module")
def model(image):
    return make_model(image, make_table())


@pytest.fixture(scope="module")
def batches(model):
    inputs = model.preprocess({name: tf.constant(RAW[name]) for name in RAW})
    return tf.data.Dataset.from_tensor_slices((inputs, LABELS)).batch(6)


@pytest.fixture(scope="module")
def features(model, batches):
    return kmmft.evaluation.frozen_features(model, batches)


def test_features_give_the_answers_of_the_whole_model(model, batches, features):
    assert {name: value.shape for name, value in features.inputs.items()} == {
        "image_pooled": (16, 8),
        "image_present": (16,),
        "table_numbers": (16, 1),
        "table_present": (16,),
    }
    head = kmmft.evaluation.head_on_features(model, features)
    assert not any("vi_t" in weight.path for weight in head.weights)
    found = kmmft.evaluation.predict_subsets_of_features(model, head, features)
    records = batches.map(lambda inputs, label: {**inputs, "label": label})
    expected = kmmft.evaluation.predict_subsets(model, records)
    assert list(found) == list(expected)
    for subset, answers in expected.items():
        other = found[subset]
        np.testing.assert_allclose(
            other.probabilities, answers.probabilities, atol=1e-5
        )
        np.testing.assert_array_equal(other.records["given"], answers.records["given"])
        np.testing.assert_array_equal(other.records["label"], LABELS)
