import numpy as np
import pytest

import kmmft
from recipes.multimodal import heads
from recipes.multimodal_classification import Config
from tests.evaluation.test_frozen_features import LABELS, RAW, make_model, make_table
from tests.models.test_fusion_classifier import make_encoders


def test_weights_make_classes_count_alike():
    assert heads.class_weights(np.array(LABELS)) == {0: 16 / 24, 1: 16 / 8}


def test_ways_of_training_are_compared(tmp_path, monkeypatch):
    """Trains what it says: the settings reach fusion and loss."""
    settings = {k: heads.SETTINGS[k] for k in ("no modality dropout", "both")}
    monkeypatch.setattr(heads, "SETTINGS", settings)
    image, table, built = make_encoders("image")["image"], make_table(), []
    image.trainable = table.trainable = False
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
