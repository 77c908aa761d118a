"""Labelling by rounds, and the simulation, on texts that a random encoder tells."""

import csv
import dataclasses
import json

import keras_hub
import numpy as np
import pytest

import kmmft
import tfrecords_tools
from recipes import active_learning as recipe
from recipes.labelling import learner, simulation
from recipes.labelling.examples import LabelledExamples
from tests.recipes.conftest import WORDS

COLORS = ("red", "green", "blue")
SETTINGS = {
    "image_column": "",
    "id_column": "id",
    "sequence_length": 6,
    "dropout_rate": 0.0,
    "steps": 40,
    "batch_size": 8,
    "learning_rate": 0.1,
}


def write_manifest(path, labelled):
    """Texts with a colour in them, half for test; some numbers have a label."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "label", "split"])
        for number in range(24):
            color, shape = COLORS[number % 3], ("square", "disc")[number % 2]
            label = color if number in labelled else ""
            part = "test" if number >= 12 else "train"
            writer.writerow([f"n{number}", f"a {color} {shape}", label, part])
    return str(path)


def fill_in(path, label_of=lambda row: row["text"].split()[1]):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "label": label_of(row)} for row in rows)
    return rows


def project(tmp_path, manifest, **changes):
    return recipe.Config(
        csv=manifest,
        output_dir=str(tmp_path / "run"),
        **{**SETTINGS, "count": 6, **changes},
    )


@pytest.fixture
def telling_encoder(monkeypatch):
    """Stands in for the pretrained encoder: random, but words change its vectors."""

    def text_encoder(handle, sequence_length):
        backbone = keras_hub.models.BertBackbone(len(WORDS), 1, 2, 16, 16)
        random = np.random.default_rng(0)
        for weight in backbone.weights:
            weight.assign(0.5 * random.normal(size=weight.shape))
        tokenizer = keras_hub.models.BertTokenizer(WORDS, lowercase=True)
        return kmmft.encoders.TextEncoder(backbone, tokenizer, sequence_length)

    monkeypatch.setattr(kmmft.encoders.TextEncoder, "from_preset", text_encoder)


def test_labelling_from_nothing_round_by_round(telling_encoder, tmp_path, capsys):
    """By a core set first, then by what the classifier is unsure of."""
    run = tmp_path / "run"
    config = project(
        tmp_path,
        write_manifest(tmp_path / "texts.csv", range(12, 24)),
        split_column="split",
        class_names=COLORS,
    )
    metrics = recipe.main(config)
    assert metrics["labels"] == 0 and metrics["examples"] == 12
    assert f"To label: {run / 'round_001.csv'}" in capsys.readouterr().out
    with pytest.raises(ValueError, match="The file of round 1 must have labels"):
        recipe.main(config)
    fill_in(run / "round_001.csv", lambda row: "rde")
    with pytest.raises(ValueError, match=r"'rde' for id .* Did you mean 'red'"):
        recipe.main(config)
    # One is left empty.
    first = fill_in(run / "round_001.csv", lambda row: row["text"].split()[1])
    assert {row["predicted_label"] for row in first} == {""}
    with (run / "round_001.csv").open() as file:
        lines = file.read().splitlines()
    lines[-1] = lines[-1].rpartition(",")[0] + ","
    (run / "round_001.csv").write_text("\n".join(lines) + "\n")
    # What may change between rounds.
    metrics = recipe.main(dataclasses.replace(config, count=9, choose_by="margin"))
    assert metrics["labels"] == 5 and metrics["test/labels"] == 12
    assert json.loads((run / "metrics.json").read_text()) == metrics
    second = fill_in(run / "round_002.csv")
    assert len(second) == 6
    assert {row["predicted_label"] for row in second} <= set(COLORS)
    scores = [float(row["score"]) for row in second]
    assert scores == sorted(scores, reverse=True)
    # Rows for test, and what was offered before, are not offered.
    ids = [row["id"] for row in (*first, *second)]
    assert sorted(ids) == sorted(f"n{n}" for n in range(12))
    metrics = recipe.main(config)
    assert "Nothing is left to label." in capsys.readouterr().out
    assert metrics["labels"] == 11 and metrics["test/accuracy"] == 1.0
    assert not (run / "round_003.csv").exists()
    model = kmmft.models.load_fusion_classifier(run)
    answer = model.classify({"text": ["a green disc", "a blue square"]})
    assert answer["label"].tolist() == [b"green", b"blue"]


@pytest.fixture
def known(tmp_path):
    manifest = write_manifest(tmp_path / "texts.csv", range(24))
    return project(
        tmp_path,
        manifest,
        split_column="split",
        simulate=True,
        start=4,
        rounds=2,
        seeds=2,
        count=4,
        methods=("core_set", "random"),
    )


def test_simulation_compares_with_random_choice(telling_encoder, known, tmp_path):
    metrics = recipe.main(known)
    # Two ways and all labels, two seeds.
    assert len(list((tmp_path / "run/runs").iterdir())) == 6
    for count in (4, 8, 12):
        name = f"core_set/{count}_labels/test_accuracy"
        gain = metrics[name] - metrics[f"random/{count}_labels/test_accuracy"]
        assert metrics[f"{name}_gain"] == pytest.approx(gain)
    # The same first labels, and the same head.
    assert metrics["core_set/4_labels/test_accuracy_gain_deviation"] == 0
    assert metrics["all/test_accuracy"] > 0.9
    # There are no more than these.
    assert metrics["random/12_labels/test_accuracy"] > 0.9
    assert metrics["train/examples"] == metrics["test/examples"] == 12
    table = simulation.simulation_table(known, metrics)
    assert [row[0] for row in table.rows] == [4, 8, 12]
    assert "core set" in (tmp_path / "run/report.html").read_text()


def test_ways_of_choosing():
    probabilities = np.array([[0.5, 0.5], [0.9, 0.1], [0.7, 0.3]])
    vectors = np.array([[0.0], [1.0], [5.0]])
    given = {"probabilities": probabilities, "vectors": vectors}
    given |= {"centers": np.array([[0.0]]), "seed": 3}
    rows, scores = learner.choose("least_confidence", 2, **given)
    assert rows.tolist() == [0, 2]
    np.testing.assert_allclose(scores, [0.5, 0.3])
    rows, scores = learner.choose("core_set", 5, **given)
    assert rows.tolist() == [2, 1, 0] and scores.tolist() == [5, 1, 0]
    rows, _ = learner.choose("random", 2, **given)
    assert rows.tolist() == learner.choose("random", 3, **given)[0][:2].tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"csv": ""}, "Either `--csv`"),
        ({"data": "somewhere"}, "Either `--csv`"),
        ({"image_column": "", "text_column": ""}, "`--text_column` or both"),
        ({"choose_by": "doubt"}, "doubt"),
        ({"methods": ("entropy",)}, "must hold random"),
        ({"count": 0}, "`--count` must be at least 1"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        recipe.main(recipe.Config(**{"csv": "texts.csv", **changes}))


def test_bad_files_are_named(known, tmp_path):
    manifest = tmp_path / "texts.csv"
    with manifest.open("a") as file:
        file.write("n3,a red disc,red,train\n")
    with pytest.raises(ValueError, match=r"line 26: ids must differ.*'n3'.*line 5 "):
        recipe.main(known)
    (tmp_path / "run/round_001.csv").write_text("id,label\nn99,red\n")
    with pytest.raises(ValueError, match=r"round_001.csv line 2: .*'n99'"):
        recipe.read_rounds(tmp_path / "run", {"n1"})
    (tmp_path / "run/round_001.csv").write_text("id,label\nn1,red\nn1,\nn1,blue\n")
    with pytest.raises(ValueError, match=r"line 4: .*'blue' for 'n1'.*'red' in line 2"):
        recipe.read_rounds(tmp_path / "run", {"n1"})
    (tmp_path / "run/round_001.csv").write_text("id,label\nn1,red\nn1,\nn1,red\n")
    assert recipe.read_rounds(tmp_path / "run", {"n1"}).label_of == {"n1": "red"}


def test_labels_that_records_do_not_know(tmp_path):
    features = kmmft.data.schema.labelled(image=False, class_names=COLORS)
    with tfrecords_tools.DatasetWriter(tmp_path, "some", features) as writer:
        for number, split in enumerate(["train", "test"]):
            record = {"id": split, "text": "a", "label": number - 1}
            writer.write(split, record)
    config = recipe.Config(data=str(tmp_path / "some/1.0.0"), simulate=True)
    _, label_of, _ = simulation.open_known(config)
    assert label_of == {"train": "", "test": "red"}


def test_a_simulation_needs_all_labels_and_some_to_choose():
    def split(labels):
        examples = kmmft.data.Examples({}, np.array(labels))
        return LabelledExamples(np.array(["a", "b"]), examples, np.zeros((2, 1)))

    with pytest.raises(ValueError, match=r"none for 1 of 2 examples of test.*'b'"):
        simulation.check_known(split([0, 1]), split([0, -1]), start=1)
    with pytest.raises(ValueError, match=r"`--start` must be less .* 2 of 2"):
        simulation.check_known(split([0, 1]), split([0, 1]), start=2)
