import dataclasses
import json
import pathlib

import pytest
import tensorflow as tf

from recipes import captioning

SMOKE = captioning.PRESETS["smoke"]


@pytest.mark.slow
def test_smoke_preset_names_colour_and_shape(tmp_path):
    config = dataclasses.replace(SMOKE, output_dir=str(tmp_path), epochs=4)
    metrics = captioning.main(config)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    # Captions are `a`, one of three colours and one of two shapes. The most frequent
    # one has 1, 1/3 and 1/2 of its three words right: 61 %.
    assert metrics["test/rouge_l"] > 0.95 > metrics["most_frequent/rouge_l"]
    assert metrics["test/bleu_1"] > 0.95 and metrics["nearest/rouge_l"] > 0.9
    assert metrics["test/cider_d"] > metrics["most_frequent/cider_d"] + 1
    page = (tmp_path / "report.html").read_text()
    assert "a red square" in page and "caption of the nearest picture" in page
    pictures = sorted(pathlib.Path(tmp_path, "data/pictures").glob("test-*-red-disc*"))
    served = tf.saved_model.load(tmp_path / "export/1").signatures["serving_default"]
    answers = served(image=tf.constant([pictures[0].read_bytes()]))
    assert answers["text"].numpy().tolist() == [b"a red disc"]


@pytest.mark.parametrize("changes", [{"manifest": ""}, {"data": "somewhere"}])
def test_one_source_of_data(changes, tmp_path):
    config = dataclasses.replace(SMOKE, output_dir=str(tmp_path), **changes)
    with pytest.raises(ValueError, match="Either `--manifest` or `--data`"):
        captioning.main(config)


def test_unknown_search():
    with pytest.raises(ValueError, match=r"greedy, beam, sampling.*'best'"):
        captioning.Config(search="best")
