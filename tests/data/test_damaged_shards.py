"""What is left of shards that are damaged, in all the ways that files can be."""

import gzip
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from kmmft.data import (
    BadRecords,
    build_dataset,
    clear_data_errors,
    count_records,
    open_source,
    schema,
)
from kmmft.data.framing import frame
from kmmft.data.reading import Split
from kmmft.data.record_reader import LOST_RECORD, RecordReader
from kmmft.data.shard import Lost, Shard
from kmmft.training import RecipeConfig, RunDirectory

from .conftest import write_records

PAYLOADS = [b"first", b"", b"third" * 9, bytes(40), b"last"]
DATA = b"".join(map(frame, PAYLOADS))
ENDS = np.cumsum([16 + len(payload) for payload in PAYLOADS]).tolist()


def read_all(path, count=5):
    return Shard(path, count).read(np.arange(count))


def test_records_in_any_choice(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(DATA)
    assert read_all(path) == PAYLOADS
    shard = Shard(path, 5)
    assert shard.read(np.array([3])) == [PAYLOADS[3]]
    assert shard.read(np.array([0, 4, 4])) == [PAYLOADS[0], PAYLOADS[4], PAYLOADS[4]]
    assert [shard.offset(number) for number in range(5)] == [0, *ENDS[:-1]]


def test_records_far_apart_are_read_apart(tmp_path):
    path = tmp_path / "a"
    payloads = [bytes([i]) * (300_000 if i % 2 else 10) for i in range(8)]
    path.write_bytes(b"".join(map(frame, payloads)))
    assert read_all(path, 8) == payloads
    assert Shard(path, 8).read(np.array([0, 6])) == [payloads[0], payloads[6]]


def test_long_records_are_found_without_reading_them(tmp_path):
    path = tmp_path / "a"
    payloads = [bytes([i]) * (20_000 + i) for i in range(100)]
    path.write_bytes(b"".join(map(frame, payloads)))

    def bytes_read():
        return int(pathlib.Path("/proc/self/io").read_text().split()[1])

    before = bytes_read()
    assert Shard(path, 100).offset(99) == sum(map(len, payloads[:99])) + 99 * 16
    assert bytes_read() - before < 400_000
    assert Shard(path, 100).read(np.array([7, 99])) == [payloads[7], payloads[99]]
    data = bytearray(path.read_bytes())
    data[Shard(path, 100).offset(50)] ^= 1
    path.write_bytes(data)
    assert read_all(path, 100) == payloads  # Found again behind the broken length.


def test_a_thousand_flipped_bytes_cost_one_record_at_most(tmp_path):
    path = tmp_path / "a"
    random = np.random.default_rng(0)
    payloads = [random.bytes(size) for size in random.integers(0, 2000, 30)]
    data = np.frombuffer(b"".join(map(frame, payloads)), np.uint8)
    ends = np.cumsum([16 + len(payload) for payload in payloads])
    lost = 0
    for place in random.integers(0, len(data), 1000).tolist():
        broken = data.copy()
        broken[place] ^= random.integers(1, 256, dtype=np.uint8)
        path.write_bytes(broken)
        hit = int(np.searchsorted(ends, place, side="right"))
        for number, record in enumerate(read_all(path, 30)):
            if number != hit or not isinstance(record, Lost):
                assert record == payloads[number]
            else:
                assert record.offset == ends[hit] - 16 - len(payloads[hit])
                lost += 1
    assert 900 < lost < 1000


def test_every_cut_keeps_what_is_before_it(tmp_path):
    path = tmp_path / "a"
    for size in range(len(DATA)):
        path.write_bytes(DATA[:size])
        whole = sum(end <= size for end in ENDS)
        records = read_all(path)
        assert records[:whole] == PAYLOADS[:whole]
        assert all(isinstance(record, Lost) for record in records[whole:])
        assert len(records) == len(PAYLOADS)


def test_numbers_stay_where_bytes_got_in_between(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(DATA[: ENDS[1]] + b"\1" * 50 + DATA[ENDS[1] :])
    assert read_all(path) == PAYLOADS


def test_numbers_stay_where_several_heads_are_broken(tmp_path):
    path = tmp_path / "a"
    broken = bytearray(DATA)
    broken[ENDS[0] + 2] ^= 1
    broken[ENDS[3] + 9] ^= 1
    path.write_bytes(broken)
    assert read_all(path) == PAYLOADS


def test_the_order_of_reading_makes_no_difference(tmp_path):
    path = tmp_path / "a"
    broken = bytearray(DATA)
    broken[14] ^= 1
    broken[ENDS[2] + 2] ^= 1
    path.write_bytes(broken[: ENDS[3] + 8] + b"\7" * 30 + broken[ENDS[3] + 8 :])
    at_once = read_all(path)
    shard = Shard(path, 5)
    one_by_one = [shard.read(np.array([number]))[0] for number in range(5)]
    shard = Shard(path, 5)
    backwards = [shard.read(np.array([number]))[0] for number in range(4, -1, -1)]
    assert at_once == one_by_one == backwards[::-1]


def test_a_file_that_ends_before_its_first_record(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"")
    assert {record.problem for record in read_all(path)} == {
        "The file ends before this record."
    }


FEATURES = schema.labelled(image=False, text=True, class_names=["thing"])
SHARDS, RECORDS = 1000, 3


def example(number):
    values = {
        "id": tf.train.Feature(bytes_list={"value": [f"r{number}".encode()]}),
        "text": tf.train.Feature(bytes_list={"value": [b"words"]}),
        "label": tf.train.Feature(int64_list={"value": [0]}),
    }
    return tf.train.Example(features={"feature": values}).SerializeToString()


def only_id(record):
    return {"id": record["id"]}


def build(source, *, training=False, **options):
    options = {"preprocess": only_id, "batch_size": 100, "split": "train"} | options
    return build_dataset(source, FEATURES, training=training, **options)


def ids(dataset):
    return [one.decode() for batch in dataset for one in batch["id"].numpy()]


@pytest.fixture(scope="module")
def thousand_flips(tmp_path_factory):
    """A thousand shards, in each of which a byte is flipped, and the ids that may be
    lost."""
    folder = tmp_path_factory.mktemp("flips")
    random = np.random.default_rng(1)
    hit = set()
    for shard in range(SHARDS):
        frames = [frame(example(shard * RECORDS + i)) for i in range(RECORDS)]
        data = bytearray(b"".join(frames))
        place = int(random.integers(len(data)))
        data[place] ^= int(random.integers(1, 256))
        (folder / f"x-train.tfrecord-{shard:05d}-of-{SHARDS:05d}").write_bytes(data)
        ends = np.cumsum([len(one) for one in frames])
        number = int(np.searchsorted(ends, place, side="right"))
        hit.add(f"r{shard * RECORDS + number}")
    return f"{folder}/*.tfrecord*", hit


def test_a_thousand_flipped_bytes_in_one_evaluation(thousand_flips):
    source, hit = thousand_flips
    log = BadRecords()
    seen = ids(build(source, max_bad_fraction=0.5, bad_records=log))
    everything = [f"r{i}" for i in range(SHARDS * RECORDS)]
    lost = [one for one in everything if one not in set(seen)]
    assert seen == [one for one in everything if one not in set(lost)]
    # What is broken in a head is found again: a record is 80 bytes, its head 12.
    assert set(lost) <= hit and 700 < len(lost) < 950
    assert log.count("train") == len(lost)
    # Chunks are processed side by side.
    records = sorted(log.records, key=lambda one: (one.shard, one.number))
    for record, name in zip(records, lost, strict=True):
        number = int(name[1:])
        shard, place = divmod(number, RECORDS)
        assert record.id == f"x-train.tfrecord-{shard:05d}-of-01000:{place}"
        assert (record.number, record.shard[-14:-9]) == (place, f"{shard:05d}")
        assert record.reason == "The record does not fit its checksum."


def test_the_bound_stops_the_run(thousand_flips):
    with (
        pytest.raises(
            ValueError, match=r"Too many bad records: \d+ in split 'train', "
        ),
        clear_data_errors("unused"),
    ):
        ids(build(thousand_flips[0], max_bad_fraction=0.01))


@pytest.fixture
def sound(tmp_path):
    """40 records in four shards."""
    path = write_records(
        tmp_path / "data",
        FEATURES,
        {"train": [{"id": f"r{i}", "text": "w", "label": 0} for i in range(40)]},
        shard_records=10,
    )
    return path, sorted(path.glob("*.tfrecord*"))


@pytest.fixture
def mixed(sound):
    """Shards that are sound, cut, empty, and of another schema."""
    path, files = sound
    files[1].write_bytes(files[1].read_bytes()[:-100])
    files[2].write_bytes(b"")
    other = tf.train.Example(
        features={"feature": {"x": tf.train.Feature(int64_list={"value": [1]})}}
    )
    files[3].write_bytes(frame(other.SerializeToString()) * 10)
    return path, files


def test_mixed_damage_in_training_keeps_every_step(mixed, tmp_path):
    path, files = mixed
    options = {"training": True, "batch_size": 8, "max_bad_fraction": 1.0}
    with RunDirectory(tmp_path / "run", RecipeConfig()) as run:
        batches = list(build(path, **options).take(12))
        once = (run.path / "quarantine.jsonl").read_text()
        resumed = list(build(path, **options, start_step=7).take(5))
    names = [[one.decode() for one in batch["id"].numpy()] for batch in batches]
    assert all(len(batch) == 8 for batch in names)
    sound = {one for batch in names for one in batch}
    assert 10 < len(sound) < 20 and sound < {f"r{i}" for i in range(20)}
    for batch, other in zip(batches[7:], resumed, strict=True):
        assert batch["id"].numpy().tolist() == other["id"].numpy().tolist()
    # Each bad record has one line, whoever met it.
    lines = [*map(json.loads, once.splitlines())]
    assert once == (run.path / "quarantine.jsonl").read_text()
    assert len(lines) == 40 - len(sound)
    reasons = {line["shard"][-5:]: line["reason"] for line in lines}
    assert reasons["00002"] == "The file ends before this record."
    assert "Feature: id (data type: string) is required" in reasons["00003"]
    assert {line["number"] for line in lines if line["shard"] == str(files[2])} == {
        *range(10)
    }


def test_raise_names_shard_record_and_byte(sound):
    path, files = sound
    data = files[1].read_bytes()
    files[1].write_bytes(data[:20] + bytes([data[20] ^ 1]) + data[21:])
    dataset = build(path, training=True, batch_size=8, on_error="raise")
    with (
        pytest.raises(ValueError, match=r"number 0 .*00001 \(byte 0\): The"),
        clear_data_errors(path),
    ):
        next(iter(dataset))
    files[1].write_bytes(data[:-3])
    with pytest.raises(ValueError, match=r"00001.* truncated after record 9"):
        build(path, training=True, batch_size=8, on_error="raise")


def test_raise_names_a_record_that_is_not_processed(sound):
    path, _ = sound

    def fails(record):
        with tf.control_dependencies(
            [tf.debugging.Assert(record["id"] != "r12", [""])]
        ):
            return {"id": tf.identity(record["id"])}

    dataset = build(path, preprocess=fails, on_error="raise")
    with (
        pytest.raises(
            ValueError, match=r"usable\. Received: 'r12' \(number 2 of .*00001"
        ),
        clear_data_errors(path),
    ):
        ids(dataset)


def test_a_compressed_shard_is_refused(sound):
    path, files = sound
    files[0].write_bytes(gzip.compress(files[0].read_bytes()))
    for on_error in ("raise", "skip"):
        with pytest.raises(ValueError, match=r"compressed by gzip\. Unpack"):
            build(path, on_error=on_error)
    with pytest.raises(ValueError, match="compressed by gzip"):
        count_records(str(files[0]))


def test_bare_damaged_shards(mixed):
    path, files = mixed
    (path / "features.json").unlink()
    pattern = str(path / "*.tfrecord*")
    with pytest.raises(ValueError, match="truncated after record"):
        open_source(pattern, FEATURES)
    lengths = open_source(pattern, FEATURES, on_error="skip").splits["train"]
    whole = count_records(str(files[0]))
    assert lengths.shard_lengths[0] == whole == 10
    assert lengths.shard_lengths[2:] == (0, 10)
    # What is cut off is not known to have been there; what is broken counts.
    assert lengths.shard_lengths[1] == count_records(str(files[1]), on_error="skip")


def test_what_stands_for_a_lost_record_is_no_record(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(DATA[:-1])
    split = Split("train", (str(path),), (5,))
    records = RecordReader(split, on_error="skip").read(np.arange(5))
    assert records[4].startswith(LOST_RECORD)
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.parse_single_example(records[4], {"x": tf.io.VarLenFeature(tf.int64)})
    reader = RecordReader(split, on_error="raise")
    assert reader.read(np.array([3, 1])).tolist() == [PAYLOADS[3], PAYLOADS[1]]
    with pytest.raises(ValueError, match=r"number 4 .* \(byte 154\): The file ends"):
        reader.read(np.arange(5))
