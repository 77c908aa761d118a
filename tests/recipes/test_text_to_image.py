import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from recipes import text_to_image as recipe

SMOKE = recipe.PRESETS["smoke"]


class Judge(tf.Module):
    """Says of every picture that it is a red disc."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="image"),
            tf.TensorSpec([None], tf.string, name="question"),
        ]
    )
    def answer(self, image, question):
        shape = tf.strings.regex_full_match(question, ".*shape is.*")
        return {"label": tf.where(shape, "disc", "red")}


@pytest.mark.slow
def test_smoke_preset(tmp_path):
    judge = Judge()
    tf.saved_model.save(judge, str(tmp_path / "judge"), signatures=judge.answer)
    config = dataclasses.replace(
        SMOKE, output_dir=str(tmp_path / "run"), judge=str(tmp_path / "judge")
    )
    metrics = recipe.main(config)
    run = tmp_path / "run"
    assert json.loads((run / "metrics.json").read_text()) == metrics
    assert (run / "export/1").exists() and (run / "tokenizer/history.csv").exists()
    # One picture each of three colours and two shapes.
    assert metrics["test/recognised/color"] == pytest.approx(1 / 3)
    assert metrics["test/recognised/shape"] == pytest.approx(1 / 2)
    assert metrics["test/recognised/shape_and_color"] == pytest.approx(1 / 6)
    assert "a red disc" in (run / "report.html").read_text()
    assert np.isfinite(metrics["test/frechet_distance"])
    assert metrics["test/loss"] < np.log(SMOKE.num_codes)
    # Shown again, without doing anything again.
    assert recipe.main(config) == metrics


def test_judged_pictures():
    answers = {"shape": ["circle", "circle"], "color": ["red", "teal"]}
    found = recipe.recognised(["a red circle", "a red circle"], answers)
    assert found == {
        "test/recognised/shape": 1.0,
        "test/recognised/color": 0.5,
        "test/recognised/shape_and_color": 0.5,
    }
