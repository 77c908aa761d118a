import errno
import hashlib
import os

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from kmmft.data import schema
from tfrecords_tools import DatasetWriter


@pytest.fixture(scope="module")
def features():
    text = tfds.features.Text()
    return tfds.features.FeaturesDict({"id": text, "caption": text})


def record(number):
    return {"id": f"r{number}", "caption": "word " * number}


def read(directory, split):
    return list(tfds.as_numpy(tfds.builder_from_directory(directory).as_dataset(split)))


def write(output_dir, features, counts, **options):
    with DatasetWriter(output_dir, "words", features, **options) as writer:
        number = 0
        for split, count in counts.items():
            for _ in range(count):
                writer.write(split, record(number))
                number += 1
    return writer.directory


def test_round_trip_of_images_and_captions(tmp_path, encoded_image):
    png, jpeg = encoded_image(3), encoded_image(200, "JPEG")
    with DatasetWriter(tmp_path, "pairs", schema.image_text()) as writer:
        writer.write("train", {"id": "a", "image": png, "captions": ["one", "zwölf"]})
        writer.write("train", {"id": "b", "image": jpeg, "captions": ["three"]})
    builder = tfds.builder_from_directory(tmp_path / "pairs" / "1.0.0")
    assert repr(builder.info.features) == repr(schema.image_text())
    decoders = {"image": tfds.decode.SkipDecoding()}
    first, second = tfds.as_numpy(builder.as_dataset("train", decoders=decoders))
    assert first["image"] == png
    assert second["image"] == jpeg
    assert first["captions"].tolist() == [b"one", "zwölf".encode()]
    decoded = next(iter(tfds.as_numpy(builder.as_dataset("train"))))["image"]
    np.testing.assert_array_equal(decoded, tf.io.decode_png(png, channels=3))


def test_class_names_survive(tmp_path):
    features = schema.labelled(image=False, class_names=["b", "a"])
    with DatasetWriter(tmp_path, "labels", features) as writer:
        writer.write("train", {"id": "x", "text": "t", "label": "a"})
    builder = tfds.builder_from_directory(writer.directory)
    assert builder.info.features["label"].names == ["b", "a"]
    assert read(writer.directory, "train")[0]["label"] == 1


def test_shards_are_balanced_ordered_and_described(tmp_path, features):
    directory = write(tmp_path, features, {"train": 11, "test": 2}, num_shards=4)
    info = tfds.builder_from_directory(directory).info
    assert info.splits["train"].shard_lengths == [2, 3, 3, 3]
    assert info.splits["test"].shard_lengths == [1, 1]
    assert [r["id"] for r in read(directory, "train")] == [
        f"r{n}".encode() for n in range(11)
    ]
    for split, shards in info.metadata["shards"].items():
        names = [path.name for path in info.splits[split].filepaths]
        assert [shard["file"] for shard in shards] == names
        for shard in shards:
            path = directory / shard["file"]
            content = path.read_bytes()
            assert shard["num_bytes"] == len(content)
            assert shard["sha256"] == hashlib.sha256(content).hexdigest()
            # The framing is TensorFlow's own: its reader checks every checksum.
            records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
            assert shard["num_records"] == len(list(records))
    assert (directory / "words-test.tfrecord-00001-of-00002").exists()
    assert len(list(directory.iterdir())) == 4 + 2 + 3  # Shards and three JSON files.


def test_number_of_shards_by_split_count_and_size(tmp_path, features, monkeypatch):
    counts = {"train": 1000, "validation": 999, "test": 5}
    directory = write(tmp_path, features, counts, num_shards={"test": 3})
    splits = tfds.builder_from_directory(directory).info.splits
    assert {name: split.num_shards for name, split in splits.items()} == {
        "train": 4,
        "validation": 1,
        "test": 3,
    }
    monkeypatch.setattr("tfrecords_tools.split_spool._SHARD_BYTES", 500)
    directory = write(tmp_path / "small", features, {"train": 20})
    split = tfds.builder_from_directory(directory).info.splits["train"]
    assert split.num_shards == -(-split.num_bytes // 500) > 1


def test_same_records_give_same_bytes(tmp_path, features):
    counts = {"train": 9, "test": 3}
    first, second = (
        write(tmp_path / name, features, counts, num_shards=2) for name in "ab"
    )
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_bytes_do_not_depend_on_the_process(tmp_path):
    # Protocol buffers keep a dict in an order that is drawn for each process, so only
    # a sum from another process tells. It changes with what is written, or with
    # protobuf: see that two processes agree, then write the new one here.
    features = schema.image_question_answer()
    record = dict.fromkeys(features, "same") | {"image": b"any bytes"}
    with DatasetWriter(tmp_path, "questions", features) as writer:
        for number in range(20):
            writer.write("train", record | {"id": str(number)})
    (shard,) = writer.directory.glob("*.tfrecord*")
    digest = hashlib.sha256(shard.read_bytes()).hexdigest()
    assert digest == "433a456a23748f036c376bebfed727292903e8774a9ae60842668f55340258c3"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_nothing(tmp_path, features, error):
    with (
        pytest.raises(error),
        DatasetWriter(tmp_path, "words", features) as writer,
    ):
        writer.write("train", record(0))
        assert not writer.directory.exists()
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_failure_while_cutting_leaves_nothing(tmp_path, features, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("tfrecords_tools.split_spool._cut_off_end", fail)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path, features, {"train": 3})
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_kill_are_named_and_deleted(tmp_path, features, caplog):
    leftover = tmp_path / ".words-1.0.0.incomplete"
    (leftover / "data").mkdir(parents=True)
    (leftover / "data" / "words-train.tfrecord").write_bytes(b"half a rec")
    directory = write(tmp_path, features, {"train": 1})
    assert str(leftover) in caplog.text
    assert len(read(directory, "train")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["words"]


def test_a_kill_between_two_names_loses_nothing(tmp_path, features):
    directory = write(tmp_path, features, {"train": 3})
    # The old data have lost their name, the new ones have not got it yet.
    incomplete = tmp_path / ".words-1.0.0.incomplete"
    incomplete.mkdir()
    directory.rename(incomplete / "replaced")
    with pytest.raises(ValueError, match="exists"):
        write(tmp_path, features, {"train": 2})
    assert len(read(directory, "train")) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["words"]


def test_two_writers_of_one_dataset(tmp_path, features):
    message = rf"One process at a time.*words/1\.0\.0, which process {os.getpid()} is"
    with DatasetWriter(tmp_path, "words", features) as first:
        first.write("train", record(0))
        with pytest.raises(ValueError, match=message):
            write(tmp_path, features, {"train": 2})
        with DatasetWriter(tmp_path, "others", features) as second:
            second.write("train", record(1))
    assert len(read(first.directory, "train")) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"words", "others"}


def test_full_disk_while_writing(tmp_path, features, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tfrecords_tools.split_spool.frame", fail)
    with (
        pytest.raises(OSError, match="No space"),
        DatasetWriter(tmp_path, "words", features) as writer,
    ):
        writer.write("train", record(0))
    assert list(tmp_path.iterdir()) == []


def test_overwriting(tmp_path, features):
    directory = write(tmp_path, features, {"train": 3})
    with pytest.raises(ValueError, match=r"words/1\.0\.0, which exists.*overwrite"):
        write(tmp_path, features, {"train": 2})
    with (
        pytest.raises(RuntimeError),
        DatasetWriter(tmp_path, "words", features, overwrite=True) as writer,
    ):
        writer.write("train", record(0))
        raise RuntimeError
    assert len(read(directory, "train")) == 3
    write(tmp_path, features, {"train": 2}, overwrite=True)
    assert len(read(directory, "train")) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["words"]


def test_only_a_dataset_is_overwritten(tmp_path, features):
    precious = tmp_path / "words" / "1.0.0" / "thesis.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("years of work")
    with pytest.raises(ValueError, match=r"no dataset_info\.json"):
        write(tmp_path, features, {"train": 2}, overwrite=True)
    assert precious.read_text() == "years of work"


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([record(7), record(7)], r"id 'r7' in split 'train'.*already in split 'train'"),
        ([{"caption": "no id"}], r"non-empty string 'id'.*id=None"),
        ([{"id": "", "caption": "c"}], r"non-empty string 'id'.*id=''"),
        ([{"id": "a", "captions": "c"}], r"record 'a'.*without 'caption' \(but 'capt"),
        ([{"id": "a", "caption": "c", "x": 1}], r"record 'a'.*unknown 'x'"),
        ([{"id": "a", "caption": 3.5}], r"record 'a' of split 'train', which cannot"),
        ([], r"at least one record.*'words'"),
    ],
)
def test_bad_records_are_named(tmp_path, features, records, message):
    with (
        pytest.raises(ValueError, match=message),
        DatasetWriter(tmp_path, "words", features) as writer,
    ):
        for one in records:
            writer.write("train", one)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "my-words"}, "name must be letters"),
        ({"version": "1.0"}, "three numbers"),
        ({"num_shards": 0}, "num_shards must be 1 or more"),
        ({"num_shards": {"train": -1}}, "num_shards must be 1 or more"),
    ],
)
def test_bad_arguments(tmp_path, features, options, message):
    with pytest.raises(ValueError, match=message):
        DatasetWriter(tmp_path, **({"name": "words", "features": features} | options))


def test_bad_split_name_and_use_outside_with(tmp_path, features):
    writer = DatasetWriter(tmp_path, "words", features)
    with pytest.raises(ValueError, match="inside a `with` block"):
        writer.write("train", record(0))
    with pytest.raises(ValueError, match="split='my-split'"), writer:
        writer.write("my-split", record(0))
