"""A classifier of an image and a table's row, served with plain numbers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.evaluation.explain_subject import Subject
from kmmft.export import parity
from tests.export.test_export_model import answers_here
from tests.models.test_fusion_classifier import make_encoders, png

CLASSES = ["benign", "watch"]
NAN = float("nan")
ROWS = {
    "image": [png(9), b"", png(9), png(200)],
    "age": [61.0, 30.0, NAN, NAN],
    "site": ["leg", "arm", "", "hand"],
}


def make_model(names=("image",), **kwargs):
    keras.utils.set_random_seed(2)
    table = kmmft.encoders.TabularEncoder(
        {"age": (50.0, 20.0)}, {"site": ["arm", "leg"]}, 8, 1, 2, **kwargs
    )
    return kmmft.models.FusionClassifier(
        {**make_encoders(*names), "table": table},
        kmmft.layers.ConcatFusion(8),
        CLASSES,
        missing_modalities=True,
    )


@pytest.fixture(scope="module")
def model():
    return make_model()


def raw(rows=ROWS):
    return {name: tf.constant(values) for name, values in rows.items()}


def test_inputs_and_presence(model):
    inputs = model.preprocess(raw())
    assert set(inputs) == set(model.input)
    assert set(inputs) > {"table_numbers", "table_categories"}
    assert inputs["table_present"].numpy().tolist() == [True, True, False, True]
    assert inputs["image_present"].numpy().tolist() == [True, False, True, True]


def test_absent_pixels_and_cells_cannot_change_the_answer(model):
    inputs = model.preprocess(raw())
    before = model(inputs).numpy()
    inputs["image"] = tf.where(inputs["image"] > -1, 77.0, 0.0)
    changed = np.abs(model(inputs).numpy() - before).max(axis=1)
    assert changed[1] == 0 and (changed[[0, 2, 3]] > 1e-5).all()
    inputs = model.preprocess(raw())
    inputs["table_numbers"] = tf.fill([4, 1], 12.0)
    inputs["table_present"] = tf.constant([False] * 4)
    alone = model(inputs).numpy()
    inputs["table_numbers"] = tf.fill([4, 1], 99.0)
    np.testing.assert_array_equal(model(inputs), alone)
    np.testing.assert_allclose(alone[2], before[2], atol=1e-6)


def test_export_takes_plain_numbers_and_absent_inputs(tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "answers_in_fresh_process", answers_here)
    # An image beside the table, and its absence, are in the recipe's test.
    model, rows = make_model(()), {name: ROWS[name] for name in ("age", "site")}
    path = kmmft.export.export_model(model, tmp_path / "export", rows)
    served = tf.saved_model.load(str(path)).signatures
    inputs = served["serving_default"].structured_input_signature[1]
    assert inputs["age"].dtype == tf.float32 and inputs["age"].shape.rank == 1
    columns = {name: tf.constant(values) for name, values in rows.items()}
    answered = served["classify"](**columns)
    expected = model.classify(rows)["probabilities"]
    np.testing.assert_allclose(answered["probabilities"], expected, atol=1e-5)
    vectors = served["encode_table"](**columns)["embedding"]
    own = model.encoders["table"](model.encoders["table"].preprocess(columns))
    np.testing.assert_allclose(vectors, own["pooled"], atol=1e-5)


def test_records_become_batches(model):
    record = {name: values[0] for name, values in raw().items()}
    decoded = model.decode_record({**record, "label": tf.constant(1)})
    batch = {name: tf.stack([value]) for name, value in decoded.items()}
    inputs, label = model.prepare_batch(batch)
    assert set(inputs) == set(model.input) and label.numpy().tolist() == [1]
    np.testing.assert_allclose(
        model(inputs)[0], model(model.preprocess(raw()))[0], atol=1e-5
    )
    columns = model.raw_columns([{"image": b"", "age": 1.0, "site": b"arm"}])
    assert columns == {"image": [b""], "age": [1.0], "site": [b"arm"]}


def test_an_explanation_of_the_image_knows_the_columns(model):
    row = {"image": png(9), "age": 61.0, "site": "leg"}
    subject = Subject(model, row, target="watch")
    logits = model(model.preprocess({k: tf.constant([v]) for k, v in row.items()}))
    assert subject.value == pytest.approx(float(logits[0, 1] - tf.reduce_mean(logits)))


def test_a_missing_column_and_one_of_a_taken_name(model):
    with pytest.raises(ValueError, match=r"\['image', 'age', 'site'\]"):
        model.classify({"image": [b""], "age": [1.0]})
    table = kmmft.encoders.TabularEncoder({"image": (0.0, 1.0)}, (), 8, 1, 2)
    with pytest.raises(ValueError, match=r"Received: \['image', 'image'\]"):
        kmmft.models.FusionClassifier(
            {**make_encoders("image"), "table": table},
            kmmft.layers.ConcatFusion(8),
            CLASSES,
        )
