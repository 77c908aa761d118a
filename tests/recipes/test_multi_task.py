import dataclasses
import json
import types

import numpy as np
import pytest
import tensorflow as tf

from kmmft.evaluation import own_caption_share
from recipes import multi_task
from recipes.together.comparison import _by_seed, comparison_tables

SMOKE = multi_task.PRESETS["smoke"]


@pytest.mark.slow
def test_smoke_preset_learns_all_four_tasks(tmp_path):
    config = dataclasses.replace(SMOKE, output_dir=str(tmp_path))
    metrics = multi_task.main(config)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    # Six captions and classes of equal frequency, five answers.
    for task in ("match", "caption", "answer", "classify"):
        assert metrics[f"test/{task}/accuracy"] > 0.9, task
    assert "what color is it?" in (tmp_path / "report.html").read_text()
    export = tf.saved_model.load(tmp_path / "export/1")
    picture = next(tmp_path.glob("data/pictures/test-*-red-disc-*")).read_bytes()
    image = tf.constant([picture])
    said = export.signatures["caption"](image=image)
    assert said["text"].numpy().tolist() == [b"a red disc"]
    found = export.signatures["classify"](image=image)
    assert found["label"].numpy().tolist() == [b"a red disc"]
    question = tf.constant(["what shape is it?"])
    answer = export.signatures["answer"](image=image, question=question)
    assert answer["label"].numpy().tolist() == [b"disc"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": "match"}, "two or more of match, caption"),
        ({"tasks": "match,match"}, "each once"),
        ({"tasks": "match,sing"}, "'match,sing'"),
        ({"weighting": "best"}, r"`--weighting` must be one of equal.*'best'"),
        (
            {"weighting": "equal,pcgrad"},
            r"`--weighting` must be one of.*'equal,pcgrad'",
        ),
        ({"compare": "equal,best"}, "`--compare` must be of"),
        ({"compare": "equal,equal"}, "each once"),
        ({"compare_seeds": -1}, "not negative"),
    ],
)
def test_bad_settings_are_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        multi_task.Config(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": ""}, "Either `--data easy_vqa`"),
        ({"pairs": "somewhere"}, "Either `--data easy_vqa`"),
        ({"data": "cifar"}, "must be easy_vqa or shapes. Received: 'cifar'"),
        ({"data": "", "pairs": "p"}, "need `--questions` and `--labelled`"),
    ],
)
def test_each_task_needs_data(changes, message, tmp_path):
    config = dataclasses.replace(SMOKE, output_dir=str(tmp_path), **changes)
    with pytest.raises(ValueError, match=message):
        multi_task.open_data(config)


def test_a_caption_of_another_picture_in_the_same_words_is_right():
    vectors = {"red": [1.0, 0.0], "blue": [0.0, 1.0], "green": [0.6, 0.8]}
    texts = ["red", "blue", "blue", "green"]
    encoded = types.SimpleNamespace(
        texts={"text": texts},
        record_of={"text": [0, 1, 2, 2]},
        vectors={
            "image": np.array([[0.9, 0.1], [0.7, 0.7], [0.1, 0.9]]),
            "text": np.array([vectors[text] for text in texts]),
        },
    )
    # The second picture is nearest to "green", which is said of the third alone.
    assert own_caption_share(encoded) == pytest.approx(2 / 3)


def test_models_of_single_tasks_count_as_one():
    rows = [
        {"way": "alone", "seed": 1, "answer_accuracy": 0.5, "seconds": 2.0},
        {"way": "alone", "seed": 1, "match_accuracy": 0.25, "seconds": 3.0},
    ]
    assert _by_seed(rows) == [
        {"seed": 1, "seconds": 5.0, "answer_accuracy": 0.5, "match_accuracy": 0.25}
    ]


def test_table_says_what_is_gained():
    config = dataclasses.replace(SMOKE, tasks="match,answer", compare_seeds=2)
    metrics = {"compared/alone/seconds": 9.6, "compared/equal/seconds": 8.0}
    for task in ("match", "answer"):
        for way, value in (("alone", 0.5), ("equal", 0.75), ("equal", 0.75)):
            name = f"compared/{way}/{task}_accuracy"
            metrics |= {name: value, f"{name}_deviation": 0.015}
        metrics |= {f"{name}_gain": 0.25, f"{name}_gain_deviation": 0.02}
    (table,) = comparison_tables(config, metrics)
    assert table.rows == [
        ["a model for each task", "50.0 ± 1.5", "50.0 ± 1.5", 10],
        ["together, equal", *["75.0 ± 1.5 (+25.0 ± 2.0)"] * 2, 8],
    ]
    assert comparison_tables(SMOKE, {}) == []
