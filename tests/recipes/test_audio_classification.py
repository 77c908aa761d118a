import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from recipes import audio_classification as recipe

SMOKE = recipe.PRESETS["smoke"]


@pytest.mark.slow
def test_smoke_preset_tells_motions_apart(tmp_path):
    config = dataclasses.replace(SMOKE, output_dir=str(tmp_path), epochs=4)
    metrics = recipe.main(config)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert metrics["majority/accuracy"] == 0.25
    assert metrics["test/accuracy"] > 0.5
    # What is served from bytes is what was tested.
    source = kmmft.data.open_source(tmp_path / "data/sounds/1.0.0")
    records = kmmft.data.first_records(source, "test", 64)
    model = keras.saving.load_model(tmp_path / "model.keras")
    raw = {"audio": [record["audio"] for record in records]}
    answers = model.classify(raw)
    labels = [record["label"] for record in records]
    hits = np.argmax(answers["probabilities"], axis=1) == labels
    np.testing.assert_allclose(np.mean(hits), metrics["test/accuracy"], atol=1e-6)
    served = tf.saved_model.load(tmp_path / "export/1").signatures["classify"]
    exported = served(audio=tf.constant([*raw["audio"][:3], b"no sound"]))
    np.testing.assert_allclose(
        exported["probabilities"][:3], answers["probabilities"][:3], atol=1e-5
    )
    assert exported["error"].numpy()[3] == b"audio is not a WAV file: convert it."
    card = (tmp_path / "export/1/README.md").read_text()
    assert "WAV of PCM or floats, of which 1 seconds" in card


@pytest.mark.parametrize("changes", [{"manifest": ""}, {"data": "somewhere"}])
def test_one_source_of_data(changes, tmp_path):
    config = dataclasses.replace(SMOKE, output_dir=str(tmp_path), **changes)
    with pytest.raises(ValueError, match="Either `--manifest` or `--data`"):
        recipe.main(config)


def test_bad_sound_is_named(tmp_path):
    (tmp_path / "page.wav").write_text("<html>404</html>")
    file = tmp_path / "sounds.csv"
    file.write_text("audio,label,split\npage.wav,a,train\n")
    config = dataclasses.replace(
        SMOKE, manifest=str(file), output_dir=str(tmp_path / "run")
    )
    with pytest.raises(ValueError, match=r"page\.wav"):
        recipe.main(config)
