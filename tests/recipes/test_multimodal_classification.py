import dataclasses
import json
import types

import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.evaluation.predictions import images_by_id
from recipes import multimodal_classification as recipe
from tests.data.conftest import write_records

SMOKE = recipe.PRESETS["smoke"]


@pytest.mark.slow
def test_smoke_preset_needs_both_modalities(tmp_path):
    config = dataclasses.replace(SMOKE, output_dir=str(tmp_path), class_weights=True)
    metrics = recipe.main(config)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert (tmp_path / "report.html").exists() and (tmp_path / "export/1").exists()
    # The label is colour and time of day: six classes, of which the image tells the
    # colour and the text the time.
    assert metrics["test/accuracy"] > 0.8
    assert metrics["given/image+text/accuracy"] == metrics["test/accuracy"]
    assert metrics["given/text/accuracy"] < 0.5
    assert metrics["given/image/accuracy"] < 0.8
    assert "records that have any of it" in (tmp_path / "report.html").read_text()
    served = tf.saved_model.load(str(tmp_path / "export/1")).signatures["classify"]
    answer = served(image=tf.constant([b""]), text=tf.constant(["seen at night"]))
    assert answer["error"].numpy().tolist() == [b""]
    assert answer["label"].numpy()[0].endswith(b"night")
    # The encoders are frozen, and the fusion, whose name may have a number, is not.
    drifts = {k: v for k, v in metrics.items() if k.startswith("forgetting/drift/")}
    assert all((value > 0) != ("_encoder/" in name) for name, value in drifts.items())
    assert any("gated_fusion" in name for name in drifts)


@pytest.mark.parametrize("changes", [{"csv": ""}, {"data": "somewhere"}])
def test_one_source_of_data(changes, tmp_path):
    config = dataclasses.replace(SMOKE, output_dir=str(tmp_path), **changes)
    with pytest.raises(ValueError, match="Either `--csv` or `--data`"):
        recipe.main(config)


def test_missing_column_is_named(tmp_path):
    config = dataclasses.replace(SMOKE, output_dir=str(tmp_path), label_column="lable")
    with pytest.raises(ValueError, match="lable"):
        recipe.main(config)


def test_missing_image_is_named(tmp_path):
    file = tmp_path / "pairs.csv"
    file.write_text("image,text,label,split\ncat.png,a cat,cat,train\n")
    config = dataclasses.replace(SMOKE, csv=str(file), output_dir=str(tmp_path / "run"))
    with pytest.raises(ValueError, match=r"cat\.png"):
        recipe.main(config)


def test_medical_preset_has_a_table(tmp_path, tiny_encoders):
    config = dataclasses.replace(
        recipe.PRESETS["medical"], output_dir=str(tmp_path), batch_size=8
    )
    source = recipe.open_data(config)
    assert recipe.table_columns(source) == (["age", "diameter_mm"], ["site"])
    encoders = recipe.build_encoders(config, source)
    ages = recipe.read_columns(source, ["age"])["age"]
    mean, std = encoders["table"].numbers["age"]
    assert mean == pytest.approx(np.nanmean(ages), abs=1e-3) and 15 < std < 25
    assert encoders["table"].categories["site"] == ["arm", "back", "leg", "neck"]
    model = recipe.build_model(config, source.features["label"].names, encoders)
    inputs, label = next(iter(recipe.build_data(config, source, "train", model, 0)))
    assert set(inputs) == set(model.input) and label.shape == (8,)
    assert model(inputs).shape == (8, 3)


def test_bad_number_is_named(tmp_path):
    file = tmp_path / "cases.csv"
    file.write_text("text,age,label\nred,old,no\n")
    config = dataclasses.replace(
        SMOKE,
        csv=str(file),
        output_dir=str(tmp_path / "run"),
        image_column="",
        split_column="",
        number_columns=("age",),
    )
    with pytest.raises(ValueError, match=r"line 2.*'age' holds 'old', not a number"):
        recipe.main(config)


def test_bad_fusion_is_named():
    with pytest.raises(ValueError, match=r"gated, bilinear.*Received: 'sum'"):
        dataclasses.replace(SMOKE, fusion="sum")


def test_skipped_records_do_not_end_the_run_after_training(tmp_path, monkeypatch):
    """A byte of the first training record is flipped, and the test shard is cut."""
    features = kmmft.data.schema.labelled(class_names=["cat", "dog"])
    pixel = tf.io.encode_png(np.zeros((1, 1, 3), np.uint8)).numpy()
    splits = {
        split: [
            {"id": f"{split}-{i}", "image": pixel, "text": "pet", "label": i % 2}
            for i in range(4)
        ]
        for split in ("train", "test")
    }
    path = write_records(tmp_path, features, splits)
    for file in path.glob("*.tfrecord*"):
        data = bytearray(file.read_bytes())
        if "train" in file.name.split(".")[0]:
            data[data.index(b"train-0")] ^= 1
        else:
            del data[-9:]
        file.write_bytes(data)
    source = kmmft.data.open_source(path)
    exported = {}
    monkeypatch.setattr(
        kmmft.export,
        "export_bundle",
        lambda model, folder, raw, training_sample, **_: exported.update(
            test=raw, train=training_sample
        ),
    )
    model = types.SimpleNamespace(raw_columns=lambda rows: [row["id"] for row in rows])
    with kmmft.training.RunDirectory(tmp_path / "run", SMOKE) as run:
        recipe.export(run, source, model, {})
    quarantine = (tmp_path / "run/quarantine.jsonl").read_text().splitlines()
    assert exported["test"] == ["test-0", "test-1", "test-2"]
    assert exported["train"] == ["train-1", "train-2", "train-3"]
    assert [json.loads(line)["split"] for line in quarantine] == ["test", "train"]
    # The pictures of the report, and the labels that weights are made of.
    found = images_by_id(source, "test", {"test-2", "test-3"})
    assert found == {"test-2": pixel}
    balanced = dataclasses.replace(SMOKE, class_weights=True)
    weights = recipe.weights_of_classes(balanced, source)
    assert weights == pytest.approx({0: 1.5, 1: 0.75})
    monkeypatch.setattr(recipe, "read_columns", None)
    assert recipe.weights_of_classes(SMOKE, source) is None
