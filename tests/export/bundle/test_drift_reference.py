import json

import numpy as np
import pytest
import tensorflow as tf

from kmmft.export.bundle.drift_reference import write_drift_reference
from kmmft.serving.drift_monitor import DriftMonitor
from tests.serving.conformance import PNG
from tests.serving.tiny_export import write_export


def rows(texts):
    return {"image": tf.constant([PNG] * len(texts)), "text": tf.constant(texts)}


def test_a_server_tells_training_data_from_others(tmp_path):
    path = write_export(tmp_path, 1)
    random = np.random.default_rng(0)
    texts = ["word " * length for length in random.integers(1, 30, 500)]
    functions = tf.saved_model.load(str(path)).signatures
    sample = {"serving_default": rows(texts)}
    file = write_drift_reference(path, functions, sample, batch_size=99)
    stored = json.loads(file.read_text())["serving_default"]
    expected = np.quantile([len(text) for text in texts], np.linspace(0.1, 0.9, 9))
    np.testing.assert_allclose(stored["text/bytes"]["edges"], np.unique(expected))
    windows = []
    monitor = DriftMonitor.of_version(
        path, window=100, on_window=lambda psi, alarm: windows.append(alarm)
    )
    model = functions["serving_default"]
    for some in (texts[100:200], [text * 9 for text in texts[:100]]):
        inputs = rows(some)
        outputs = {name: x.numpy() for name, x in model(**inputs).items()}
        inputs = {name: x.numpy() for name, x in inputs.items()}
        monitor.observe("serving_default", inputs, outputs)
    assert windows == [False, True]


def test_too_few_rows(tmp_path):
    path = write_export(tmp_path, 1)
    with pytest.raises(ValueError, match="Received: 3 rows for 'serving_default'"):
        write_drift_reference(path, {}, {"serving_default": rows(["a"] * 3)})
