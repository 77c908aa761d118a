import dataclasses
import json

import keras
import numpy as np
import pytest

import kmmft
from recipes import audio_text as recipe

SMOKE = recipe.PRESETS["smoke"]


def test_smoke_preset_finds_captions(tmp_path):
    config = dataclasses.replace(SMOKE, output_dir=str(tmp_path), epochs=4)
    # Exports are tested with the other recipe; here one is taken to be there.
    (tmp_path / "export/1").mkdir(parents=True)
    metrics = recipe.main(config)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert metrics["test/different_captions"] == 16
    # Chance is 1 in 16.
    assert metrics["test/caption_accuracy"] > 0.6
    assert "Which caption fits best?" in (tmp_path / "report.html").read_text()
    # The model that was kept is the one that was tested.
    source = kmmft.data.open_source(tmp_path / "data/sounds/1.0.0")
    records = kmmft.data.first_records(source, "test", 64)
    captions = sorted({record["captions"][0].decode() for record in records})
    model = keras.saving.load_model(tmp_path / "model.keras")
    sounds = [record["audio"] for record in records]
    scores = model.encode("audio", sounds) @ model.encode("text", captions).T
    best = [captions[row] for row in np.argmax(scores, axis=1)]
    right = [record["captions"][0].decode() for record in records]
    hits = np.mean([one == other for one, other in zip(best, right, strict=True)])
    np.testing.assert_allclose(hits, metrics["test/caption_accuracy"], atol=1e-6)


@pytest.mark.parametrize("changes", [{"manifest": ""}, {"data": "somewhere"}])
def test_one_source_of_data(changes, tmp_path):
    config = dataclasses.replace(SMOKE, output_dir=str(tmp_path), **changes)
    with pytest.raises(ValueError, match="Either `--manifest` or `--data`"):
        recipe.main(config)
