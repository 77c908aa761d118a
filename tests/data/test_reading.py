import dataclasses
import shutil

import pytest
import tensorflow as tf

from kmmft.data import (
    build_dataset,
    check_splits,
    clear_data_errors,
    count_records,
    find_corrupt_record,
    first_records,
    open_source,
    parse_record,
    read_records,
    schema,
)


@pytest.fixture
def copy(toy_directory, tmp_path):
    return shutil.copytree(toy_directory, tmp_path / "toy" / "1.0.0")


def shards(path, split="train"):
    return sorted(path.glob(f"toy-{split}.tfrecord-*"))


def number_of(records):
    return sum(1 for _ in records)


def test_splits_shards_and_counts(toy_directory):
    source = open_source(toy_directory)
    assert {name: split.num_records for name, split in source.splits.items()} == {
        "train": 60,
        "test": 10,
    }
    train = source.split("train")
    assert train.shard_lengths == (7,) * 8 + (4,)
    assert [count_records(file) for file in train.files] == list(train.shard_lengths)
    assert number_of(read_records(source, "train")) == 60


def test_sizes_are_payload_and_framing(toy_directory):
    # The cheap check at opening rests on this.
    for split in open_source(toy_directory).splits.values():
        payload = sum(len(record.numpy()) for record in read_records_of(split))
        assert payload == split.num_bytes


def read_records_of(split):
    return tf.data.TFRecordDataset(list(split.files))


def test_splits_of_a_run_are_checked_before_it(toy_directory):
    source = open_source(toy_directory)
    assert check_splits(source, ["train", "test"]) is source
    with pytest.raises(
        ValueError, match="none in validation; there are test 10, train 60"
    ):
        check_splits(source)
    empty = dataclasses.replace(source.splits["test"], files=(), shard_lengths=())
    source = dataclasses.replace(source, splits={**source.splits, "test": empty})
    with pytest.raises(ValueError, match=r"must have records\. Received: none in test"):
        check_splits(source, ["train", "test"])


def test_first_records(toy_directory):
    records = first_records(toy_directory, "test", 2)
    features = open_source(toy_directory).features
    serialized = list(read_records(toy_directory, "test").take(2))
    assert len(records) == 2 and isinstance(records[0]["id"], str)
    for record, raw in zip(records, serialized, strict=True):
        parsed = parse_record(raw, features)
        assert record["id"].encode() == parsed["id"].numpy()
        assert record["image"] == parsed["image"].numpy()
        assert list(record["captions"]) == list(parsed["captions"].numpy())
    assert len(first_records(toy_directory, "test", 99)) == 10


def test_parent_of_a_single_version(toy_directory, copy):
    assert open_source(toy_directory.parent).splits.keys() == {"train", "test"}
    shutil.copytree(copy, copy.parent / "1.1.0")
    with pytest.raises(ValueError, match=r"1\.0\.0, 1\.1\.0"):
        open_source(copy.parent)


def test_glob_with_schema_or_beside_features(toy_directory, tmp_path):
    beside = open_source(f"{toy_directory}/*train.tfrecord*")
    assert beside.split("train").num_records == 60
    for file in shards(toy_directory, "test"):
        shutil.copy(file, tmp_path)
    pattern = str(tmp_path / "*.tfrecord*")
    with pytest.raises(ValueError, match="need a schema"):
        open_source(pattern)
    source = open_source(pattern, schema.image_text())
    assert number_of(read_records(source, "test")) == 10


def test_shards_without_a_split_in_their_name(toy_directory, tmp_path):
    shutil.copy(shards(toy_directory)[0], tmp_path / "0001.bin")
    source = open_source(str(tmp_path / "*.bin"), schema.image_text())
    assert source.split("all").num_records == 7


def test_declared_number_of_shards(toy_directory, tmp_path):
    shutil.copy(
        shards(toy_directory)[0], tmp_path / "toy-train.tfrecord-00000-of-00002"
    )
    with pytest.raises(ValueError, match="1 of 2 shards"):
        open_source(str(tmp_path / "*tfrecord*"), schema.image_text())


def test_what_cannot_be_opened(toy_directory, tmp_path):
    with pytest.raises(ValueError, match=r"dataset_info\.json and features\.json"):
        open_source(tmp_path)
    with pytest.raises(ValueError, match="matches nothing"):
        open_source(tmp_path / "none*")
    with pytest.raises(ValueError, match=r"'validation'.*\['test', 'train'\]"):
        open_source(toy_directory).split("validation")
    with pytest.raises(ValueError, match="no answer, image_id"):
        open_source(toy_directory, schema.image_question_answer())


def test_missing_shard(copy):
    shards(copy)[3].unlink()
    with pytest.raises(ValueError, match=r"train\.tfrecord-00003"):
        open_source(copy).split("train")
    assert open_source(copy).split("test").num_records == 10


def test_truncated_shard_is_named_with_its_last_record(copy):
    broken = shards(copy)[2]
    size = broken.stat().st_size
    with broken.open("r+b") as file:
        file.truncate(size - 5)
    with pytest.raises(ValueError, match=r"00002.* truncated after record 6 \(byte"):
        open_source(copy).split("train")


def test_shard_cut_between_records(copy):
    shorter, longer = shards(copy)[8], shards(copy)[2]
    longer.write_bytes(shorter.read_bytes())
    with pytest.raises(ValueError, match=r"00002.* with 4 of 7 records"):
        open_source(copy).split("train")


def test_corrupt_byte_is_named(copy):
    files = shards(copy)
    data = bytearray(files[4].read_bytes())
    data[len(data) // 2] ^= 1
    files[4].write_bytes(data)
    assert find_corrupt_record(str(file) for file in files) == (str(files[4]), 3)
    dataset = build_dataset(
        copy,
        split="train",
        preprocess=only_id,
        batch_size=4,
        training=False,
        on_error="raise",
    )
    with (
        pytest.raises(ValueError, match=r"number 3 \(from 0\) of shard .*00004"),
        clear_data_errors(copy),
    ):
        list(dataset)


def only_id(record):
    return {"id": record["id"]}


def test_other_errors_pass(toy_directory):
    with (
        pytest.raises(tf.errors.NotFoundError, match="mine"),
        clear_data_errors(toy_directory),
    ):
        raise tf.errors.NotFoundError(None, None, "mine")
