import dataclasses
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.evaluation import own_caption_share
from recipes import captioning, search

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


@pytest.mark.slow
def test_coca_compares_writes_and_serves_both(tmp_path):
    config = dataclasses.replace(
        SMOKE, output_dir=str(tmp_path), model="coca", learning_rate=3e-3
    )
    metrics = captioning.main(config)
    assert metrics["test/rouge_l"] > 0.9 > metrics["most_frequent/rouge_l"]
    # One of six different captions is a picture's own.
    assert metrics["test/own_caption"] > 0.8
    # 48 pictures, of which 8 have the same caption.
    assert metrics["test/image_to_text/recall_at_10"] > 0.8
    served = tf.saved_model.load(tmp_path / "export/1").signatures
    assert {"caption", "encode_image", "encode_text", "rank"} <= set(served)
    assert "image → text R@1" in (tmp_path / "report.html").read_text()
    # What it learnt is searched with as a dual encoder is.
    found = search.main(
        search.Config(
            model=str(tmp_path),
            folder=str(tmp_path / "data/pictures"),
            words="a red disc",
            k=3,
            output_dir=str(tmp_path / "search"),
        )
    )
    assert all("red-disc" in hit.id for hit in found[0].hits)


@pytest.mark.slow
def test_self_critical_stage_goes_on_from_cross_entropy(tmp_path):
    config = dataclasses.replace(
        SMOKE,
        output_dir=str(tmp_path),
        epochs=2,
        self_critical_epochs=6,
        self_critical_learning_rate=3e-4,
        search="greedy",
    )
    metrics = captioning.main(config)
    before, after = (
        "validation/cross_entropy/cider_d",
        "validation/self_critical/cider_d",
    )
    assert metrics[after] > metrics[before] + 0.3
    # The best epoch was chosen by other pictures; one of these counts for 0.1.
    assert metrics["test/cider_d"] > metrics["cross_entropy/cider_d"] + 0.1
    with (tmp_path / "self_critical/history.csv").open() as file:
        names = file.readline().strip().split(",")
    assert {"drawn_reward", "greedy_reward", "val_cider_d"} <= set(names)
    assert "by cross-entropy alone" in (tmp_path / "report.html").read_text()


def test_own_caption_knows_equal_captions():
    vectors = np.eye(3)
    encoded = kmmft.evaluation.RecordVectors(
        {"image": vectors[[0, 0, 1, 2]], "text": vectors[[0, 0, 1, 2, 1]]},
        {"image": np.arange(4), "text": np.array([0, 1, 2, 2, 3])},
        {"text": ["a cat", "a cat", "a dog", "a pet", "a dog"]},
        {},
    )
    # The last picture is nearest to "a pet", and its caption is "a dog".
    assert own_caption_share(encoded) == 0.75


@pytest.mark.parametrize("changes", [{"manifest": ""}, {"data": "somewhere"}])
def test_one_source_of_data(changes, tmp_path):
    config = dataclasses.replace(SMOKE, output_dir=str(tmp_path), **changes)
    with pytest.raises(ValueError, match="Either `--manifest` or `--data`"):
        captioning.main(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": "best"}, r"greedy, beam, sampling.*'best'"),
        ({"model": "clip"}, r"writer, coca.*'clip'"),
        ({"model": "coca", "decoder": "gpt2"}, "--model coca and --decoder gpt2"),
        ({"model": "coca", "self_critical_epochs": 1}, "Only a writer"),
        ({"self_critical_epochs": -1}, "must not be negative. Received: -1"),
    ],
)
def test_bad_settings_end_in_one_line(changes, message):
    with pytest.raises(ValueError, match=message):
        captioning.Config(**changes)
