"""`recipes.visual_question_answering --head generate`."""

import csv
import dataclasses
import json
import pathlib

import pytest
import tensorflow as tf

import kmmft
from kmmft.data import schema
from recipes import visual_question_answering as recipe
from tests.data.conftest import write_records

SMOKE = dataclasses.replace(recipe.PRESETS["smoke"], head="generate")


def asked_of_ten(folder):
    """The drawn shapes; of ten people, nine give the answer and one another one."""
    path = pathlib.Path(kmmft.data.write_colored_shapes(folder / "pictures"))
    splits = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            record = {name: row[name] for name in ("id", "question", "answer")}
            record |= {"image_id": row["image"], "question_type": row["question"][5:10]}
            record["image"] = (path.parent / row["image"]).read_bytes()
            record["answers"] = [row["answer"]] * 9 + ["a disc"]
            splits.setdefault(row["split"], []).append(record)
    features = schema.image_question_answer(several_answers=True)
    return write_records(folder, features, splits, shard_records=100)


@pytest.mark.slow
def test_written_answers_are_learnt_reported_and_served(tmp_path, tiny_encoders):
    source = asked_of_ten(tmp_path)
    config = dataclasses.replace(
        SMOKE,
        data=str(source),
        output_dir=str(tmp_path / "run"),
        train_image_encoder=True,
        train_text_encoder=True,
        epochs=8,
        patience=8,
        learning_rate=3e-3,
    )
    metrics = recipe.main(config)
    assert json.loads((tmp_path / "run/metrics.json").read_text()) == metrics
    # Half the questions are for the colour (1 of 3), half for the shape (1 of 2).
    assert metrics["floor/question_only"] == pytest.approx(5 / 12)
    assert metrics["test/accuracy/color"] > 0.75
    # Nine people are more than three: right is right in full.
    assert metrics["test/vqa_accuracy"] >= metrics["test/accuracy"] > 0.55
    page = (tmp_path / "run/report.html").read_text()
    assert "what color is it?" in page and "VQA accuracy of this model" in page
    records = kmmft.data.first_records(kmmft.data.open_source(source), "test", 48)
    served = tf.saved_model.load(tmp_path / "run/export/1")
    written = served.signatures["serving_default"](
        image=tf.constant([record["image"] for record in records]),
        question=tf.constant([record["question"] for record in records]),
    )["text"].numpy()
    right = [a.decode() == r["answer"] for a, r in zip(written, records, strict=True)]
    assert sum(right) / 48 == pytest.approx(metrics["test/accuracy"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": "guess"}, "`--head` must be classify or generate.*'guess'"),
        ({"variants": True}, "--variants and --head generate"),
    ],
)
def test_bad_settings_end_in_one_line(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMOKE, **changes)
