import dataclasses
import json

import keras
import numpy as np
import pytest

import kmmft
from recipes import audio_text as recipe
from tests.data.conftest import write_records

SMOKE = recipe.PRESETS["smoke"]


@pytest.mark.slow
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


def test_a_cut_shard_does_not_keep_it_from_being_tested(tmp_path):
    record = {"audio": b"", "sample_rate": 1, "num_samples": 0, "captions": ["a"]}
    records = [record | {"id": str(number)} for number in range(5)]
    path = write_records(tmp_path, kmmft.data.schema.audio_text(), {"test": records})
    (shard,) = path.glob("*.tfrecord*")
    shard.write_bytes(shard.read_bytes()[:-5])
    evaluator = recipe.make_evaluator(SMOKE, kmmft.data.open_source(path), "test")
    assert evaluator.ks == (1, 5)
