import itertools
import json

import pytest
import tensorflow_datasets as tfds

from kmmft.data import schema
from tfrecords_tools import build_easy_vqa

ANSWERS = ("yes", "no", "circle", "teal")


@pytest.fixture(scope="module")
def source(tmp_path_factory, encoded_image):
    """40 training and 3 test images with four questions each."""
    root = tmp_path_factory.mktemp("easy_vqa")
    for split, count in (("train", 40), ("test", 3)):
        (root / split / "images").mkdir(parents=True)
        for number in range(count):
            path = root / split / "images" / f"{number}.png"
            path.write_bytes(encoded_image(number))
        rows = [[f"is it {a}?", a, n] for n in range(count) for a in ANSWERS]
        (root / split / "questions.json").write_text(json.dumps(rows))
    return root


def read(directory, split):
    dataset = tfds.builder_from_directory(directory).as_dataset(
        split, decoders={"image": tfds.decode.SkipDecoding()}
    )
    return list(tfds.as_numpy(dataset))


def test_records(source, tmp_path):
    result = build_easy_vqa(
        output_dir=tmp_path, source_dir=source, validation_fraction=0.25
    )
    features = tfds.builder_from_directory(result.directory).info.features
    assert repr(features) == repr(schema.image_question_answer())
    assert result.num_records["test"] == 12
    splits = {name: read(result.directory, name) for name in result.num_records}
    images = {
        name: {record["image_id"] for record in records}
        for name, records in splits.items()
    }
    assert not images["train"] & images["validation"]
    assert len(images["train"]) + len(images["validation"]) == 40
    assert 4 <= len(images["validation"]) <= 16
    by_id = {record["id"]: record for records in splits.values() for record in records}
    assert len(by_id) == 43 * 4
    seventh = by_id[b"train-000007"]
    assert seventh["question"] == b"is it teal?"
    assert (seventh["answer"], seventh["image_id"]) == (b"teal", b"train-1")
    assert seventh["image"] == (source / "train/images/1.png").read_bytes()
    assert [by_id[b"test-%06d" % n]["question_type"] for n in range(4)] == [
        b"yes/no",
        b"yes/no",
        b"shape",
        b"color",
    ]


def test_questions_of_an_image_do_not_stand_together(source, tmp_path):
    result = build_easy_vqa(output_dir=tmp_path, source_dir=source)
    images = [record["image_id"] for record in read(result.directory, "train")]
    neighbours = sum(a == b for a, b in itertools.pairwise(images))
    assert neighbours < 0.1 * len(images)  # In the order of the file: 75 %.


def test_same_bytes_twice(source, tmp_path):
    first, second = (
        build_easy_vqa(output_dir=tmp_path / name, source_dir=source).directory
        for name in "ab"
    )
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name
    assert len(list(first.iterdir())) == len(list(second.iterdir()))


def test_errors(source, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"readable train/questions\.json"):
        build_easy_vqa(output_dir=tmp_path, source_dir=tmp_path)
    with pytest.raises(ValueError, match="validation_fraction=1"):
        build_easy_vqa(output_dir=tmp_path, source_dir=source, validation_fraction=1)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install easy-vqa"):
        build_easy_vqa(output_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_bad_row_is_named(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "questions.json").write_text('[["q", "", 0]]')
    with pytest.raises(ValueError, match=r"train/questions\.json line 1: \['q', '', 0"):
        build_easy_vqa(output_dir=tmp_path / "out", source_dir=tmp_path)
