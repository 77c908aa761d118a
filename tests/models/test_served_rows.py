"""Functions of raw rows, before they are exported."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.models.served_rows import ServedRows
from tests.models.test_fusion_classifier import make_encoders, png


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    return kmmft.models.FusionClassifier(
        make_encoders("image"), fusion=None, class_names=["cat", "dog"]
    )


def test_names_of_the_signatures(model):
    assert [*model.serving_functions()] == [
        "serving_default",
        "classify",
        "encode_image",
    ]
    functions = model.serving_functions()
    assert functions["classify"] is functions["serving_default"]


def test_strict_fails_the_batch_and_names_the_row(model):
    served = model.serving_functions(strict=True)["encode_image"]
    encode = tf.function(served.function)
    good = tf.constant([png(3), png(9)])
    outputs = encode(image=good)
    assert set(outputs) == {"embedding"}
    with pytest.raises(tf.errors.InvalidArgumentError, match="Row 1: image is not a"):
        encode(image=tf.constant([png(3), b"\x89PMG"]))


def test_limit_of_pixels(model):
    served = model.serving_functions(max_pixels=399)["encode_image"]
    answer = tf.function(served.function)(image=tf.constant([png(3), png(3, 19)]))
    assert answer["error"].numpy().tolist() == [
        b"image has 400 pixels; at most 399 are decoded: make it smaller.",
        b"",
    ]
    assert not np.any(answer["embedding"][0]) and np.any(answer["embedding"][1])


def test_max_pixels_must_be_positive(model):
    with pytest.raises(ValueError, match=r"must be positive.*max_pixels=0"):
        ServedRows(model, max_pixels=0)


def test_a_missing_image_is_no_error_where_it_may_miss():
    encoders = make_encoders("image")
    model = kmmft.models.FusionClassifier(
        encoders,
        fusion=kmmft.layers.GatedFusion(4),
        class_names=["cat", "dog"],
        missing_modalities=True,
    )
    raw = tf.constant([png(3), b"", b"broken"])
    served = model.serving_functions()["serving_default"]
    answer = tf.function(served.function)(image=raw)
    expected = model.classify({"image": [png(3), b""]})["probabilities"]
    np.testing.assert_allclose(answer["probabilities"][:2], expected, atol=1e-6)
    assert [bool(text) for text in answer["error"].numpy()] == [False, False, True]
    assert answer["label"].numpy()[2] == b""


def test_tasks_are_served_by_their_names(model):
    encoder = model.encoders["image"]
    other = kmmft.models.FusionClassifier(
        {"image": encoder}, fusion=None, class_names=["in", "out"]
    )
    both = kmmft.models.MultiTask({"animal": model, "place": other})
    functions = both.serving_functions(max_pixels=1000)
    assert [*functions] == [
        "serving_default",
        "animal",
        "animal_classify",
        "animal_encode_image",
        "place",
        "place_classify",
        "place_encode_image",
    ]
    assert functions["serving_default"] is functions["animal"]
    answer = tf.function(functions["place"].function)(image=tf.constant([png(3)]))
    assert answer["label"].numpy()[0] in (b"in", b"out")
