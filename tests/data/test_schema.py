import numpy as np
import pytest
import tensorflow as tf

from kmmft.data import open_source, parse_record, read_records, schema

from .conftest import encode, write_records


def test_records_come_back_as_written(tmp_path):
    import numpy as np

    png = encode(np.zeros((4, 5, 3), np.uint8))
    record = {
        "id": "q1",
        "image": png,
        "image_id": "i1",
        "question": "Was ist das für ein Tier?",
        "question_type": "",
        "answer": "Bär",
    }
    features = schema.image_question_answer()
    path = write_records(tmp_path, features, {"train": [record]})
    serialized = next(iter(read_records(path, "train")))
    parsed = parse_record(serialized, open_source(path).features)
    assert {key: value.numpy() for key, value in parsed.items()} == {
        key: value.encode() if isinstance(value, str) else value
        for key, value in record.items()
    }


def test_captions_are_a_sequence(toy_directory):
    features = open_source(toy_directory).features
    parsed = [
        parse_record(record, features)["captions"].shape[0]
        for record in read_records(toy_directory, "test").take(4)
    ]
    assert parsed == [1, 2, 3, 1]


def test_labelled_has_what_is_asked_for():
    features = schema.labelled(image=False, class_names=["cat", "dog"])
    assert sorted(features) == ["id", "label", "text"]
    assert features["label"].names == ["cat", "dog"]
    assert sorted(schema.labelled(text=False, class_names=["a"])) == [
        "id",
        "image",
        "label",
    ]
    table = schema.labelled(False, False, ["a"], numbers=["age"], categories=["sex"])
    assert sorted(table) == ["age", "id", "label", "sex"]
    assert table["age"].np_dtype is np.float32


@pytest.mark.parametrize(
    "options",
    [
        {"class_names": ["a"], "numbers": ["label"]},
        {"class_names": ["a"], "numbers": ["age"], "categories": ["age"]},
        {"class_names": ["a"], "text": False, "numbers": ["text"]},
        {"image": False, "text": False, "class_names": ["a"]},
        {"class_names": ["a", "a"]},
        {},
    ],
)
def test_labelled_refuses(options):
    with pytest.raises(ValueError, match="Received"):
        schema.labelled(**options)


def test_image_bytes_are_kept(toy_directory):
    features = open_source(toy_directory).features
    record = parse_record(next(iter(read_records(toy_directory, "test"))), features)
    assert record["image"].dtype == tf.string
