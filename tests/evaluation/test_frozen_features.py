import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from recipes.multimodal import heads
from recipes.multimodal_classification import Config
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


def test_weights_make_classes_count_alike():
    assert heads.class_weights(np.array(LABELS)) == {0: 16 / 24, 1: 16 / 8}


def test_ways_of_training_are_compared(image, tmp_path, monkeypatch):
    """Trains what it says: the settings reach fusion and loss."""
    settings = {k: heads.SETTINGS[k] for k in ("no modality dropout", "both")}
    monkeypatch.setattr(heads, "SETTINGS", settings)
    table, built = make_table(), []
    table.trainable = False
    random = np.random.default_rng(0)
    here = np.array(RAW["image"], object) != b""
    # Of the four rows, the one without an image is the one of the second class.
    inputs = {
        "image_pooled": random.normal(size=(16, 8)).astype("float32"),
        "image_present": here,
        "table_pooled": np.zeros((16, 8), "float32"),
        "table_present": np.ones(16, bool),
    }
    features = kmmft.data.Examples(inputs, np.array(LABELS))

    def build_model(config):
        built.append(config)
        rate = config.modality_dropout_rate
        return make_model(image, table, modality_dropout_rate=rate)

    config = Config(
        train_image_encoder=False,
        train_text_encoder=False,
        compare_seeds=1,
        compare_epochs=30,
        batch_size=8,
        learning_rate=0.05,
    )
    metrics = heads.compare_heads(config, tmp_path, build_model, features, features)
    told = [(c.modality_dropout_rate, c.class_weights, c.focal_gamma) for c in built]
    assert told == [(0.0, False, 0.0), (0.2, True, 2.0)]
    assert metrics["compared/no modality dropout/image+table/accuracy"] == 1.0
    # Without the image all rows look alike.
    assert metrics["compared/no modality dropout/table/accuracy"] in (0.25, 0.75)
    assert not any(name.endswith("_std") for name in metrics)
    tables = heads.comparison_tables(metrics, 1)
    subsets = ["image + table", "image", "table"]
    assert [table.header[1:] for table in tables] == [subsets] * 2
    assert [row[0] for row in tables[0].rows] == list(settings)
    assert tables[0].rows[0][1] == "100.0 %"
    spread = {f"{name}_std": 0.021 for name in metrics}
    tables = heads.comparison_tables(metrics | spread, 1)
    assert tables[0].rows[0][1] == "100.0 % ± 2.1"
    assert heads.compare_heads(config, tmp_path, None, features, features) == metrics
    assert heads.comparison_tables({}, 0) == []


def test_comparison_needs_frozen_encoders():
    with pytest.raises(ValueError, match="train_text_encoder=True"):
        Config(compare_seeds=2, train_image_encoder=False)
