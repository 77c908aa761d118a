"""What a run needs at its end is looked for before it begins."""

import dataclasses
import functools
import importlib

import numpy as np
import pytest

import kmmft
import tfrecords_tools
from recipes import distill, multimodal_classification
from recipes.texts import answering, classifying, tagging
from recipes.texts.settings import Config as TextConfig
from tfrecords_tools.media_pair import NO_AUDIO

schema = kmmft.data.schema
SPLITS = ("train", "validation", "test")


def recipe(name, features, **record):
    """How a recipe opens data, its settings, and a record as it wants them."""
    module = importlib.import_module(f"recipes.{name}")
    open_data = getattr(module, "open_data", None) or module.open_pairs
    return pytest.param(open_data, module.Config, features, record, id=name)


def text_task(task, part, features, **record):
    config = functools.partial(TextConfig, task=task)
    return pytest.param(part.open_data, config, features, record, id=task)


CASES = [
    text_task(
        "classify",
        classifying,
        schema.labelled(image=False, class_names=["x"]),
        text="a",
        label="x",
    ),
    text_task("regress", classifying, schema.rated(), text="a", label=1.0),
    text_task("tag", tagging, schema.tagged(["O", "X"]), words=["a"], tags=["O"]),
    recipe(
        "audio_classification",
        schema.labelled(False, False, ["x"], audio=True),
        **NO_AUDIO,
        label="x",
    ),
    recipe("audio_text", schema.audio_text(), **NO_AUDIO, captions=["a"]),
    recipe("video_text", schema.video_text(), video=[], captions=["a"]),
    recipe("contrastive", schema.image_text(), image=b"", captions=["a"]),
    recipe("captioning", schema.image_text(), image=b"", captions=["a"]),
]


def write(folder, features, record, splits):
    with tfrecords_tools.DatasetWriter(folder, "some", features) as writer:
        for split in splits:
            writer.write(split, {**record, "id": split})
    return str(folder / "some/1.0.0")


@pytest.mark.parametrize(("open_data", "config", "features", "record"), CASES)
@pytest.mark.parametrize("missing", ["validation", "test"])
def test_no_run_begins_without(open_data, config, features, record, missing, tmp_path):
    data = write(tmp_path, features, record, set(SPLITS) - {missing})
    with pytest.raises(ValueError, match=f"none in {missing}; there are .*train 1"):
        open_data(config(data=data))


def test_questions_need_no_test_split(tmp_path):
    features = schema.question_context()
    record = dict.fromkeys(("title", "question", "context"), "a")
    record |= {"answers": [], "answer_starts": []}
    data = write(tmp_path, features, record, SPLITS[:2])
    config = TextConfig(task="answer", data=data)
    assert set(answering.open_data(config).splits) == set(SPLITS[:2])
    data = write(tmp_path / "alone", features, record, SPLITS[:1])
    with pytest.raises(ValueError, match="none in validation; there are train 1"):
        answering.open_data(dataclasses.replace(config, data=data))


def test_forgetting_needs_some_examples(tmp_path):
    features = schema.labelled(image=False, class_names=["x"])
    data = write(tmp_path, features, {"text": "a", "label": "x"}, SPLITS)
    config = multimodal_classification.Config(data=data)
    with pytest.raises(ValueError, match=r"must have 3 records or more\. Received: 1"):
        multimodal_classification.open_data(config)


def test_what_a_student_learns_from_is_there_before_a_teacher(tmp_path, monkeypatch):
    question = {"image": b"", "image_id": "", "question_type": ""}
    question |= {"question": "a", "answer": "b"}
    features = schema.image_question_answer()
    data = write(tmp_path, features, question, SPLITS)
    others = write(tmp_path / "others", features, question, ["test"])
    monkeypatch.setattr(distill, "get_teacher", lambda *_: pytest.fail("It trains."))
    config = distill.Config(data=data, teacher="", output_dir=str(tmp_path / "run"))
    config = dataclasses.replace(config, unlabelled=others)
    with (
        kmmft.training.RunDirectory(config.output_dir, config) as run,
        pytest.raises(ValueError, match=r"others.*none in train; there are test 1"),
    ):
        distill.run_once(config, run)


def test_a_small_file_has_no_test_split_by_chance(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("text,label\n" + "".join(f"text {n},{n % 2}\n" for n in range(8)))
    config = TextConfig(files=str(table), output_dir=str(tmp_path))
    with pytest.raises(ValueError, match="a column that names each row's split"):
        classifying.open_data(config)


def test_floors_are_known_before_training():
    """So that labels that no metric takes cost nothing."""
    numbers, classes = TextConfig(task="regress"), TextConfig()
    learnt = np.array([1.0, 2.0], "float32")
    floors = classifying.find_floors(numbers, learnt, learnt[:1])
    assert floors == {"mean/mae": 0.5, "mean/rmse": 0.5}
    with pytest.raises(ValueError, match="must be finite"):
        classifying.find_floors(numbers, learnt, np.array([np.nan, 1.0]))
    learnt = np.array([1, 1, 0])
    floors = classifying.find_floors(classes, learnt, np.array([1, 0]))
    assert floors == {"most_frequent/accuracy": 0.5}
    with pytest.raises(ValueError, match=r"must have a class\. Received: 1 without"):
        classifying.find_floors(classes, learnt, np.array([1, -1]))
