import dataclasses
import json

import keras
import numpy as np
import pytest

import kmmft
from recipes import video_text as recipe

SMOKE = recipe.PRESETS["smoke"]


@pytest.mark.slow
def test_smoke_preset_tells_clips_from_their_reverse(tmp_path):
    config = dataclasses.replace(SMOKE, output_dir=str(tmp_path))
    metrics = recipe.main(config)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    # A film and its reverse are the same to the mean: half is the most it can have.
    for direction in recipe.DIRECTIONS:
        assert metrics[f"mean/{direction}/recall_at_1"] <= 0.5
        assert metrics[f"sequence_transformer/{direction}/recall_at_1"] > 0.7
    assert metrics["test/mean_recall"] == metrics["sequence_transformer/mean_recall"]
    page = (tmp_path / "report.html").read_text()
    assert "transformer over frames" in page and "data:image/gif" in page
    # What is served is what was tested.
    source = kmmft.data.open_source(tmp_path / "data/videos/1.0.0")
    records = kmmft.data.first_records(source, "test", 24)
    model = keras.saving.load_model(tmp_path / "model.keras")
    videos = model.encode("video", [record["video"] for record in records])
    texts = model.encode("text", [record["captions"][0] for record in records])
    hits = np.argmax(videos @ texts.T, axis=1) == np.arange(24)
    expected = metrics["test/video_to_text/recall_at_1"]
    np.testing.assert_allclose(hits.mean(), expected, atol=1e-6)
    assert (tmp_path / "export/1").exists()


@pytest.mark.slow
def test_tight_similarity_is_trained_and_served(tmp_path):
    config = dataclasses.replace(
        SMOKE,
        output_dir=str(tmp_path),
        aggregations="tight",
        learning_rate=2e-3,
        epochs=3,
    )
    metrics = recipe.main(config)
    # Chance is 5 of 24.
    assert metrics["test/video_to_text/recall_at_5"] > 0.5
    assert metrics["tight/mean_recall"] == metrics["test/mean_recall"]
    assert (tmp_path / "export/1").exists()
    assert "transformer over text and frames" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("changes", [{"manifest": ""}, {"data": "somewhere"}])
def test_one_source_of_data(changes, tmp_path):
    config = dataclasses.replace(SMOKE, output_dir=str(tmp_path), **changes)
    with pytest.raises(ValueError, match="Either `--manifest` or `--data`"):
        recipe.main(config)


@pytest.mark.parametrize("names", ["median", "", "mean,mean", "mean, tight"])
def test_unknown_aggregations(names):
    with pytest.raises(ValueError, match="`--aggregations` must be of"):
        dataclasses.replace(SMOKE, aggregations=names)


def test_missing_video_is_named(tmp_path):
    file = tmp_path / "clips.csv"
    file.write_text("video,caption,split\ncat.gif,a cat,train\n")
    config = dataclasses.replace(
        SMOKE, manifest=str(file), output_dir=str(tmp_path / "run")
    )
    with pytest.raises(ValueError, match=r"cat\.gif"):
        recipe.main(config)
