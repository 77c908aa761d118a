import dataclasses
import json

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from recipes import distill as recipe
from recipes.smaller.data import build_data_for_teacher
from tests.models.test_fusion_classifier import make_model

pytestmark = pytest.mark.slow

WORDS = [*["what", "color", "shape", "is", "it"], *["?", "red", "green", "blue"]]


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Preset directories of a tiny vision transformer and a tiny BERT."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("presets")
    vit = keras_hub.models.ViTBackbone((16, 16, 3), 8, 1, 2, 8, 16)
    vit.save_to_preset(folder / "vit")
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = keras_hub.tokenizers.BertTokenizer(specials + WORDS, lowercase=True)
    bert = keras_hub.models.BertBackbone(len(specials + WORDS), 2, 2, 8, 16)
    bert.save_to_preset(folder / "bert")
    tokenizer.save_to_preset(folder / "bert")
    return {"image_encoder": str(folder / "vit"), "text_encoder": str(folder / "bert")}


@pytest.fixture(scope="module")
def run(tmp_path_factory, encoders):
    folder = tmp_path_factory.mktemp("distill")
    config = dataclasses.replace(
        recipe.PRESETS["smoke"],
        output_dir=str(folder),
        image_cut="",
        text_layers=1,
        train_image_encoder=False,
        hidden_sparsity=0.25,
        image_size=16,
        sequence_length=8,
        hidden_dim=16,
        head_dim=8,
        epochs=1,
        **encoders,
    )
    return config, recipe.main(config), folder


def test_run_writes_everything(run):
    _, metrics, folder = run
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
        "model.keras",
    }
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    report = (folder / "report.html").read_text()
    assert "student alone" in report and "what color is it?" in report


def test_numbers_are_those_of_the_kept_models(run):
    _, metrics, folder = run
    student, teacher = (
        kmmft.models.load_fusion_classifier(path)
        for path in (folder, folder / "teacher")
    )
    assert student.encoders["image"].backbone.mlp_dim == 12
    assert student.encoders["question"].backbone.num_layers == 1
    assert student.encoders["question"].backbone.intermediate_dim == 12
    assert metrics["parameters"] == student.count_params()
    assert metrics["teacher/parameters"] == teacher.count_params()
    assert metrics["parameters"] < metrics["teacher/parameters"]
    assert 0 < metrics["size_mb"] < metrics["teacher/size_mb"]
    source = kmmft.data.open_source(folder / "data/asked/shapes/1.0.0")
    records = kmmft.data.first_records(source, "test", 48)
    raw = {name: [record[name] for record in records] for name in recipe.MODALITIES}
    raw = {name: tf.constant(values) for name, values in raw.items()}
    own, other = (model.serve(**raw)["label"].numpy() for model in (student, teacher))
    truth = np.array([record["answer"].encode() for record in records], object)
    assert np.mean(own == truth) == pytest.approx(metrics["test/accuracy"])
    assert np.mean(other == truth) == pytest.approx(metrics["teacher/test/accuracy"])
    assert np.mean(own == other) == pytest.approx(metrics["test/agreement"])
    # The frozen tower of the student is a part of the teacher's.
    query, same = (
        model.encoders["question"]
        .backbone.transformer_layers[0]
        ._self_attention_layer.query_dense.kernel
        for model in (student, teacher)
    )
    np.testing.assert_array_equal(query, same)


def history(path, config):
    with kmmft.training.RunDirectory(path, config) as run:
        return run.history()


def test_the_teacher_makes_the_difference(run):
    config, _, folder = run
    student, alone = (history(path, config) for path in (folder, folder / "alone"))
    # The loss has the teacher's part; validation has not.
    assert student[0]["loss"] > alone[0]["loss"] + 1e-3
    assert student[0]["val_loss"] != alone[0]["val_loss"]


def test_the_same_command_again_runs_nothing(run, capsys):
    config, metrics, folder = run
    before = (folder / "metrics.json").stat().st_mtime_ns
    assert recipe.main(config) == metrics
    assert (folder / "metrics.json").stat().st_mtime_ns == before
    assert "agrees" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": "nowhere"}, "must be a trained model.*'nowhere'"),
        ({"image_cut": "block9"}, "must be a layer of.*'block9'"),
        ({"data": "nowhere/1.0.0"}, "nowhere/1.0.0"),
    ],
)
def test_bad_settings_end_in_one_line(run, tmp_path, changes, message):
    config, _, folder = run
    changed = dataclasses.replace(
        config,
        **{
            "data": str(folder / "data/asked/shapes/1.0.0"),
            "output_dir": str(tmp_path / "run"),
            "teacher": str(folder / "teacher"),
            **changes,
        },
    )
    with pytest.raises(ValueError, match=message):
        recipe.main(changed)
    assert not (tmp_path / "run/metrics.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_layers": -1}, "`--text_layers` must not be negative"),
        ({"hidden_sparsity": 1.0}, "`--hidden_sparsity` must be in"),
        ({"temperature": 0.0}, "`--temperature` must be positive"),
        ({"distillation_weight": -1.0}, "`--distillation_weight` must not be"),
        ({"labelled_fraction": 0.0}, "`--labelled_fraction` must be in"),
        ({"unlabelled_share": 1.0}, "`--unlabelled_share` in"),
        (
            {"unlabelled": "more", "batch_size": 8, "unlabelled_share": 0.05},
            "--unlabelled_share 0.05 of --batch_size 8, which is none",
        ),
        ({"labelled_fraction": 0.5, "batch_size": 1}, "which is none"),
        ({"seeds": 0}, "`--seeds` must be at least 1"),
    ],
)
def test_bad_numbers(changes, message):
    with pytest.raises(ValueError, match=message):
        recipe.Config(**changes)


def test_few_labels_and_a_teacher_for_the_other_questions(run):
    config, metrics, folder = run
    few = dataclasses.replace(
        config,
        data=str(folder / "data/asked/shapes/1.0.0"),
        teacher=str(folder / "teacher"),
        output_dir=str(folder / "few"),
        labelled_fraction=0.25,
        unlabelled_share=0.5,
        seeds=2,
    )
    found = recipe.main(few)
    assert found["labels"] < 0.5 * metrics["labels"]
    for own in ("", "alone/"):
        first, mean, deviation = (
            found[f"{own}{name}"]
            for name in ("test/accuracy", "seeds/accuracy", "seeds/accuracy_deviation")
        )
        # Of two values, each is the deviation over the root of two from the mean.
        assert abs(first - mean) == pytest.approx(deviation / 2**0.5, abs=1e-6)
    sampled = [
        {r["id"] for r in kmmft.data.first_records(path / "data/labelled", "train", 99)}
        for path in (folder / "few", folder / "few/seed_1")
    ]
    assert len(sampled[0]) == found["labels"] and sampled[0] != sampled[1]
    assert "Over 2 seeds" in (folder / "few/report.html").read_text()


def test_rows_that_the_teacher_alone_answers_have_no_weight(tmp_path):
    source = recipe.open_questions("shapes", tmp_path)
    answers = kmmft.data.Vocabulary.load_or_build(source, "train", "answer")
    model = make_model(class_names=answers.entries)
    config = recipe.PRESETS["smoke"]
    batches = build_data_for_teacher(config, source, source, "train", model, 0)
    inputs, labels, weights = next(iter(batches))
    assert inputs["image"].shape[0] == labels.shape[0] == config.batch_size
    # The mean of the loss over the batch is that of the rows with labels.
    np.testing.assert_array_equal(weights, [4.0] * 4 + [0.0] * 12)
    assert labels[:4].numpy().any() and not labels[4:].numpy().any()
    first, *_ = next(
        iter(build_data_for_teacher(config, source, None, "train", model, 0))
    )
    assert first["image"].shape == inputs["image"].shape
