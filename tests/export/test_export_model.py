import json

import numpy as np
import tensorflow as tf

import kmmft
from kmmft.export import parity
from tests.models.test_fusion_classifier import make_model

QUESTIONS = ["red?", "what color?"]


def answers_here(directory, requests):
    """In place of a fresh process, which the test of the answers has anyway."""
    served = tf.saved_model.load(str(directory)).signatures
    return {
        name: {k: v.numpy().tolist() for k, v in served[name](**inputs).items()}
        for name, inputs in requests.items()
    }


def test_exported_model_answers_in_a_fresh_process(tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "answers_in_fresh_process", answers_here)
    model = make_model(("question",))
    base = tmp_path / "export"
    path = kmmft.export.export_model(model, base, {"question": QUESTIONS}, version=3)
    assert path == base / "3"
    report = json.loads((path / "assets.extra/parity.json").read_text())
    assert report["tolerance"] == 1e-4
    served = kmmft.export.ask_in_fresh_process(path, {"question": QUESTIONS})
    expected = model.classify({"question": QUESTIONS})
    assert set(served) == set(expected)
    assert served["label"].tolist() == expected["label"].tolist()
    for name in ("probability", "probabilities"):
        np.testing.assert_allclose(served[name], expected[name], atol=1e-5)
