import dataclasses
import functools
import itertools
import json

import numpy as np
import pytest
import tensorflow as tf

import kmmft
import tfrecords_tools
from recipes import text_to_image as recipe
from recipes.drawing import data, testing, training
from tests.training.killed_runs import KillAt, Killed

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
    assert (run / "export/1").exists() and (run / "model.keras").exists()
    assert (run / "tokenizer/history.csv").exists()
    # One picture each of three colours and two shapes.
    assert metrics["test/recognised/color"] == pytest.approx(1 / 3)
    assert metrics["test/recognised/shape"] == pytest.approx(1 / 2)
    assert metrics["test/recognised/shape_and_color"] == pytest.approx(1 / 6)
    assert "a red disc" in (run / "report.html").read_text()
    assert np.isfinite(metrics["test/frechet_distance"])
    assert metrics["test/loss"] < np.log(SMOKE.num_codes)
    # Shown again, without doing anything again.
    assert recipe.main(config) == metrics


@pytest.mark.slow
def test_both_stages_go_on_after_a_kill(tmp_path, monkeypatch):
    config = dataclasses.replace(SMOKE, epochs=1)
    fit = kmmft.training.resumable_fit

    def run(name, killed_stage=None):
        stages = itertools.count()

        def fit_stage(*args, **options):
            kill = [KillAt(2)] if next(stages) == killed_stage else []
            options |= {"callbacks": kill, "checkpoint_every_seconds": 0.0}
            return fit(*args, **options)

        monkeypatch.setattr(kmmft.training, "resumable_fit", fit_stage)
        own = dataclasses.replace(config, output_dir=str(tmp_path / name))
        with kmmft.training.RunDirectory(own.output_dir, own) as directory:
            model, metrics = training.train(own, data.open_data(own), directory)
        metrics = {k: v for k, v in metrics.items() if not k.endswith("seconds")}
        return metrics, model.generate(["a red disc"] * 3)

    for stage in (0, 1):
        with pytest.raises(Killed):
            run("killed", stage)
    metrics, pictures = run("killed")
    expected, drawn = run("whole")
    assert metrics == expected
    np.testing.assert_array_equal(pictures, drawn)


def test_judged_pictures():
    answers = {"shape": ["circle", "circle"], "color": ["red", "teal"]}
    found = testing.recognised(["a red circle", "a red circle"], answers)
    assert found == {
        "test/recognised/shape": 1.0,
        "test/recognised/color": 0.5,
        "test/recognised/shape_and_color": 0.5,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_image_encoder": True}, "must not change"),
        ({"num_codes": 1}, "`--num_codes` must be at least 2"),
        ({"pictures_per_text": 0}, "pictures_per_text"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0.0}, r"`--top_p` must be in \(0, 1\]"),
        ({"adversarial_start": 2.0}, "adversarial_start"),
        ({"caption_dropout": 0.0}, "--guidance_scale 2.5 and --caption_dropout 0"),
        ({"ranker": "runs/contrastive", "candidates": 1}, "--candidates 1"),
        ({"ranker": "runs/a", "scorer": "runs/a"}, "must not score its own choice"),
    ],
)
def test_bad_settings_end_in_one_line(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMOKE, **changes)


def test_no_judge_and_no_ranker_where_the_paths_lead(tmp_path):
    """They are opened before the training, which takes hours."""
    with pytest.raises(ValueError, match=r"`--judge` must be a SavedModel.*nowhere"):
        testing.open_judge("nowhere")
    module = tf.Module()
    module.count = tf.function(tf.size, input_signature=[tf.TensorSpec([None])])
    tf.saved_model.save(module, str(tmp_path), signatures=module.count)
    with pytest.raises(ValueError, match="`--judge` must take `image`"):
        testing.open_judge(str(tmp_path))
    with pytest.raises(ValueError, match="nowhere"):
        testing.open_dual_encoder("nowhere")
    assert testing.open_judge("") is None and testing.open_dual_encoder("") is None


def test_distance_is_of_pictures_of_all_texts(monkeypatch):
    class Mean:
        from_preset = classmethod(lambda cls, *_, **__: cls())

        def predict(self, images, verbose):
            return {"pooled": images.mean(axis=(1, 2))}

    monkeypatch.setattr(kmmft.encoders, "ImageEncoder", Mean)
    shades = np.tile(np.linspace(0, 200, 40)[:, None, None, None], (1, 4, 4, 3))
    real = shades[np.random.default_rng(0).permutation(40)[:20]]
    found = testing.distance(SMOKE, shades, real)["test/frechet_distance"]
    # By the first twenty, half as bright as the real ones, it would be 8,000.
    assert found < 1000
    assert testing.distance(SMOKE, shades[:1], real) == {}


class Brightness:
    """Vectors of light and dark, of pictures as of the words for them."""

    def encode_image(self, files):
        light = [np.mean(tf.io.decode_png(file)) / 255 for file in files]
        return np.stack([light, 1 - np.array(light)], axis=1)

    def encode_text(self, texts):
        return np.array([[text == "light", text == "dark"] for text in texts], float)


def test_pictures_fit_their_own_texts():
    pictures = np.zeros((4, 2, 2, 3), "u1")
    pictures[2:] = 255
    real = {"image": pictures.astype("float32"), "text": np.array(["light"] * 4)}
    found = testing.fit(Brightness(), ["dark"] * 2 + ["light"] * 2, pictures, real)
    assert found == {
        "test/clip_score/drawn": 2.5,
        "test/clip_score/others_texts": 0.0,
        "test/clip_score/real": 1.25,
    }


def test_every_caption_is_learnt_and_the_first_is_drawn(tmp_path):
    lines = ["image,caption,split"]
    png = tf.io.encode_png(np.zeros((8, 8, 3), "u1"))
    for split in ("train", "test"):
        tf.io.write_file(f"{tmp_path}/{split}.png", png)
        lines += [f"{split}.png,{name},{split}" for name in ("a hat", "a cap")]
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    tfrecords_tools.build_manifest(
        manifest=tmp_path / "pairs.csv",
        output_dir=tmp_path,
        name="pairs",
        image_column="image",
        caption_column="caption",
        split_column="split",
    )
    config = dataclasses.replace(
        SMOKE, caption_dropout=0.0, guidance_scale=1.0, batch_size=1
    )
    source = kmmft.data.open_source(tmp_path / "pairs/1.0.0")
    tokenizer = kmmft.models.ImageTokenizer(16, 2, 4, widths=(8,), blocks=0)
    read = functools.partial(
        data.build_data, config, source, tokenizer=tokenizer, batch_preprocess=None
    )
    seen = {batch["text"].numpy()[0] for batch in read("train", start_step=0).take(12)}
    assert seen == {b"a hat", b"a cap"}
    assert [batch["text"].numpy().tolist() for batch in read("test")] == [[b"a hat"]]


def test_pictures_that_nobody_judged_are_not_wrong(tmp_path):
    with kmmft.training.RunDirectory(tmp_path, SMOKE) as run:
        run.write_epoch(0, {"loss": 1.0, "val_loss": 1.0})
        pictures = np.zeros((2, 8, 8, 3), "u1")
        recipe.report(run, {}, ["a red disc", "a blue disc"], pictures, {})
        page = run.report.read_text()
        assert "2 examples." in page and "a red disc" in page and "✗" not in page
        answers = {"shape": ["disc", "disc"], "color": ["red", "red"]}
        recipe.report(run, {}, ["a red disc", "a blue disc"], pictures, answers)
        page = run.report.read_text()
    assert "2 examples, 1 of them answered wrongly" in page and page.count("✗") == 1
