import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

import kmmft
from recipes import compare_systems as recipe
from recipes.comparisons import shifted_examples

SMOKE = recipe.PRESETS["smoke"]


@pytest.mark.slow
def test_smoke_preset_runs_every_system_once(tiny_encoders, tmp_path, monkeypatch):
    config = dataclasses.replace(SMOKE, output_dir=str(tmp_path), steps=6)
    steps = []
    fit = recipe.fit

    def counted(*args):
        *_, model, _, count = args
        steps.append((sorted(model.encoders), count))
        return fit(*args)

    monkeypatch.setattr(recipe, "fit", counted)
    metrics = recipe.main(config)
    both = ["image", "question"]
    staged = [(["image"], 2), (["question"], 2), (both, 2)]
    # The same number of steps for each system, the components' included.
    assert steps == [(both, 6), *staged, *staged, (both, 6)]
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    for system in recipe.SYSTEMS:
        for name in ("test", "noise", "background", "words"):
            accuracy = metrics[
                f"{kmmft.evaluation.method_prefix(system, 1.0)}/{name}_accuracy"
            ]
            assert 0 <= accuracy <= 1
    assert "Test accuracy by the share of labels" in (
        tmp_path / "report.html"
    ).read_text(encoding="utf-8")
    assert recipe.main(config) == metrics and len(steps) == 8


def test_labels_that_are_needed():
    config = dataclasses.replace(SMOKE, labels="1,0.1", wanted_accuracy=0.8)
    metrics = {}
    for system, scores in zip(
        recipe.SYSTEMS, [(0.85, 0.9), (0.7, 0.8), (0.1, 0.2), (0.1, 0.2)], strict=True
    ):
        for share, count, score in zip((0.1, 1.0), (10, 100), scores, strict=True):
            name = kmmft.evaluation.method_prefix(system, share)
            metrics |= {f"{name}/test_accuracy": score, f"{name}/label_count": count}
    table = recipe.labels_table(config, metrics)
    assert list(table.header) == ["system", "10%", "100%", "labels for 80%"]
    assert [row[-1] for row in table.rows] == [10, 100, None, None]


@pytest.mark.parametrize(
    "question, other",
    [
        ("is there a circle in the image?", "can you see a circle in the picture?"),
        ("is there not a circle?", "is a circle missing?"),
        ("is no red shape present?", "is no red shape to be seen?"),
        ("does the image not contain a circle?", "does the picture lack a circle?"),
        ("what is the color of the shape?", "what is the colour of the shape?"),
    ],
)
def test_questions_in_other_words(question, other):
    assert (
        shifted_examples.in_other_words(tf.constant(question)).numpy().decode() == other
    )


def test_shifted_images_keep_the_shape():
    image = np.full((1, 4, 4, 3), 250, np.float32)
    image[0, 1:3, 1:3] = (220, 30, 30)
    inputs = {"image": image, "ids": np.zeros(1)}
    tinted = shifted_examples.tinted(inputs)["image"]
    assert (tinted[0, 1:3, 1:3] == (220, 30, 30)).all()
    assert tinted[0, 0, 0] == pytest.approx([175, 212.5, 250])
    noisy = shifted_examples.noisy({"image": np.full((8, 32, 32, 3), 128.0)})["image"]
    assert noisy.std() == pytest.approx(25, rel=0.02)
    assert inputs["image"] is image and image.max() == 250


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"labels": "0.5,2"}, "shares"),
        ({"labels": "few"}, "positive numbers"),
        ({"steps": 2}, "steps"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rates": "nan"}, "learning_rates"),
        ({"strategy": "multi_worker"}, "strategy"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMOKE, **changes)
