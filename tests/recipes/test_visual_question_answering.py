import dataclasses
import json
import pathlib
import types

import numpy as np
import pytest
import tensorflow as tf

import kmmft
import tfrecords_tools
from recipes import visual_question_answering as recipe
from recipes.vqa.settings import FUSIONS
from tests.recipes.conftest import seeing_encoders

SMOKE = recipe.PRESETS["smoke"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """As the smoke preset, which has to wait for the graphs of larger encoders."""
    folder = tmp_path_factory.mktemp("vqa")
    config = dataclasses.replace(SMOKE, image_size=32, output_dir=str(folder))
    with seeing_encoders():
        return config, recipe.main(config), folder


def check_run(config, metrics):
    folder = pathlib.Path(config.output_dir)
    names = {entry.name for entry in folder.iterdir()}
    assert names >= {
        "config.json",
        "metrics.json",
        "history.csv",
        "tensorboard",
        "checkpoints",
        "report.html",
        "export",
        "run.log",
    }
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    # Half the questions are for the colour (1 of 3), half for the shape (1 of 2).
    assert metrics["floor/question_only"] == pytest.approx(5 / 12)
    assert metrics["test/accuracy"] > 0.6
    assert metrics["train/seconds"] > 0 and metrics["peak_memory_mb"] > 100
    report = (folder / "report.html").read_text()
    assert "what color is it?" in report and "data:image/png;base64" in report


def test_training_learns_and_writes_everything(run):
    config, metrics, _ = run
    check_run(config, metrics)


def test_own_data_must_be_named(tmp_path):
    config = dataclasses.replace(recipe.PRESETS["default"], output_dir=str(tmp_path))
    with pytest.raises(ValueError, match=r"`--data` must name .*Received: data=''"):
        recipe.main(config)


@pytest.mark.slow
def test_smoke_preset_learns_and_writes_everything(tmp_path):
    config = dataclasses.replace(SMOKE, output_dir=str(tmp_path))
    check_run(config, recipe.main(config))


def test_served_model_answers_as_the_tested_one(run):
    _, metrics, folder = run
    served = tf.saved_model.load(str(folder / "export/1")).signatures["serving_default"]
    source = kmmft.data.open_source(folder / "data/shapes/1.0.0")
    records = [
        kmmft.data.parse_record(serialized, source.features)
        for serialized in kmmft.data.read_records(source, "test")
    ]
    answers = served(
        image=tf.stack([record["image"] for record in records]),
        question=tf.stack([record["question"] for record in records]),
    )["label"]
    truth = np.array([record["answer"].numpy() for record in records])
    assert (answers.numpy() == truth).mean() == pytest.approx(metrics["test/accuracy"])


def test_variants_are_listed_and_one_is_chosen(run, monkeypatch):
    config, _, folder = run
    asked = {}

    def always_red(raw):
        return {"label": np.full(len(raw["question"]), b"red", object)}

    def measured(model, path, examples, evaluate, baseline):
        asked.update(path=path, baseline=baseline, rows=len(examples["image"]))
        row = kmmft.export.Variant(
            "float32", str(baseline), 100.0, {1: 20.0, 8: 40.0, 32: 90.0}
        )
        row = dataclasses.replace(row, score=float(evaluate(always_red)), drop=0.0)
        small = dataclasses.replace(row, name="int8", size_mb=30.0)
        return [row, small, kmmft.export.Variant("float16", refused="too bad")]

    monkeypatch.setattr(kmmft.export, "export_variants", measured)
    source = kmmft.data.open_source(folder / "data/shapes/1.0.0")
    directory = kmmft.training.RunDirectory(folder, config)
    model = types.SimpleNamespace(encoders={"image": None, "question": None})
    directory.close()
    for limit, highlight, note in [(50, 1, "Chosen"), (5, None, "max_size_mb=5")]:
        limited = dataclasses.replace(config, max_size_mb=limit)
        table = recipe.variants_table(limited, model, source, directory)
        assert table.highlight == highlight and note in table.note
    assert asked["baseline"] == folder / "export/1" and asked["rows"] > 0
    assert asked["path"] == folder / "variants"
    score = pytest.approx(1 / 6)  # half the questions are for one of three colours
    assert table.rows[1] == ["int8", 30.0, 20.0, 40.0, 90.0, score, ""]
    assert table.rows[2] == ["float16", None, None, None, None, None, "too bad"]


def test_the_same_command_again_runs_nothing(run, capsys):
    config, metrics, folder = run
    before = (folder / "metrics.json").stat().st_mtime_ns
    assert recipe.main(config) == metrics
    assert (folder / "metrics.json").stat().st_mtime_ns == before
    assert "this model" in capsys.readouterr().out


def test_another_configuration_is_refused(run):
    config, _, _ = run
    with pytest.raises(ValueError, match="seed was 0, is now 1"):
        recipe.main(dataclasses.replace(config, seed=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusion": "magic"}, "`--fusion` must be one of concat.*'magic'"),
        ({"data": "nowhere/1.0.0"}, "nowhere/1.0.0"),
        ({"image_encoder": "no_such_preset"}, "no_such_preset"),
        ({"text_encoder": "{folder}"}, "{folder}"),
        ({"strategy": "fast"}, "`strategy` must be one of"),
        ({"batch_size": 4096}, "batch_size=4096"),
    ],
)
def test_bad_settings_end_in_one_line(run, changes, message, tmp_path):
    config, _, folder = run
    changes = {
        "data": str(folder / "data/shapes/1.0.0"),
        "output_dir": str(tmp_path / "run"),
        **changes,
    }
    changes = {
        key: value.replace("{folder}", str(tmp_path)) if key != "batch_size" else value
        for key, value in changes.items()
    }
    with pytest.raises(ValueError, match=message.replace("{folder}", str(tmp_path))):
        recipe.main(dataclasses.replace(config, **changes))
    assert not (tmp_path / "run/metrics.json").exists()
    assert not (tmp_path / "run/export").exists()


def manifest_with(tmp_path, **changed):
    """Data whose third test or training row is changed."""
    path = pathlib.Path(kmmft.data.write_colored_shapes(tmp_path / "pictures"))
    lines = path.read_text().splitlines()
    header, row = lines[0].split(","), 3
    values = dict(zip(header, lines[row].split(","), strict=True)) | changed
    lines[row] = ",".join(values.values())
    path.write_text("\n".join(lines) + "\n")
    return tfrecords_tools.build_manifest(
        manifest=path,
        output_dir=tmp_path,
        name="shapes",
        image_column="image",
        question_column="question",
        answer_column="answer",
        id_column="id",
        split_column="split",
    ).directory


@pytest.mark.parametrize("name", FUSIONS)
def test_every_fusion_flag_fuses_image_and_question(name):
    features = {
        modality: {
            "pooled": np.ones((2, 6), "float32"),
            "tokens": np.ones((2, 3, 6), "float32"),
            "mask": np.ones((2, 3), bool),
        }
        for modality in ("image", "question")
    }
    fused = FUSIONS[name](16)(features)
    assert fused.shape == (2, 16)


def test_unknown_answer_is_named(tmp_path, encoders_that_see):
    directory = manifest_with(tmp_path, answer="purple", split="validation")
    config = dataclasses.replace(
        SMOKE, data=str(directory), output_dir=str(tmp_path / "run"), epochs=1
    )
    with pytest.raises(ValueError, match=r"Too many bad records.*purple"):
        recipe.main(config)


def test_unknown_answer_in_the_test_split_counts_as_wrong(
    tmp_path, encoders_that_see, monkeypatch
):
    table = kmmft.evaluation.Table("Not exported: the run above is", ["id"], [])
    monkeypatch.setattr(recipe, "export_and_ask", lambda *_: table)
    directory = manifest_with(tmp_path, answer="purple", split="test")
    config = dataclasses.replace(
        SMOKE, data=str(directory), output_dir=str(tmp_path / "run"), epochs=1
    )
    metrics = recipe.main(config)
    assert metrics["test/examples"] == 48 + 1
    assert metrics["test/accuracy"] <= 48 / 49
    assert "(not in the vocabulary)" in (tmp_path / "run/report.html").read_text()


def test_truncated_shard_is_named(run, tmp_path, tiny_encoders):
    config, _, _ = run
    directory = manifest_with(tmp_path)
    shard = sorted(directory.glob("*-train.tfrecord*"))[0]
    shard.write_bytes(shard.read_bytes()[:-10])
    changed = dataclasses.replace(
        config, data=str(directory), output_dir=str(tmp_path / "run")
    )
    with pytest.raises(ValueError, match=shard.name):
        recipe.main(changed)
