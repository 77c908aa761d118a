"""Reading records of shards that are damaged, where the rule is to skip them."""

import shutil

import pytest
import tensorflow as tf

from kmmft.data import first_records, parse_record, read_records, schema
from kmmft.data.framing import frame

from .conftest import write_records

FEATURES = schema.labelled(image=False, class_names=["a"])


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """40 records in four shards."""
    records = [{"id": f"r{i}", "text": "words", "label": 0} for i in range(40)]
    folder = tmp_path_factory.mktemp("sound")
    return write_records(folder, FEATURES, {"train": records}, shard_records=10)


def flip(file, record_id):
    """One byte of a record, which has the only id that begins so."""
    data = bytearray(file.read_bytes())
    data[data.index(record_id)] ^= 1
    file.write_bytes(data)


@pytest.fixture
def damaged(sound, tmp_path):
    """A byte of r1 is flipped, r9 is cut, and r39 has other features."""
    path = shutil.copytree(sound, tmp_path / "toy/1.0.0")
    files = sorted(path.glob("*.tfrecord*"))
    flip(files[0], b"r1")
    files[0].write_bytes(files[0].read_bytes()[:-5])
    payloads = [raw.numpy() for raw in tf.data.TFRecordDataset(str(files[3]))]
    other = tf.train.Example(
        features={"feature": {"x": tf.train.Feature(int64_list={"value": [1]})}}
    )
    payloads[9] = other.SerializeToString()
    files[3].write_bytes(b"".join(map(frame, payloads)))
    return path


def test_what_cannot_be_read_is_skipped_and_logged(damaged, caplog):
    records = read_records(damaged, "train", on_error="skip").map(
        lambda serialized: parse_record(serialized, FEATURES)["id"]
    )
    ids = [name.decode() for name in records.as_numpy_iterator()]
    assert ids == [f"r{i}" for i in range(40) if i not in (1, 9, 39)]
    skipped = [one.bad_record for one in caplog.records if hasattr(one, "bad_record")]
    assert sorted(one.number for one in skipped) == [1, 9, 9]
    (flipped,) = (one for one in skipped if one.number == 1)
    assert "checksum" in flipped.reason
    few = first_records(damaged, "train", 2, on_error="skip")
    assert [record["id"] for record in few] == ["r0", "r2"]
    with pytest.raises(ValueError, match="truncated after record 9"):
        read_records(damaged, "train")


def test_too_many_are_an_error(damaged):
    def read(fraction):
        options = {"on_error": "skip", "max_bad_fraction": fraction}
        return first_records(damaged, "train", 40, **options)

    assert len(read(3 / 40)) == 37
    with pytest.raises(ValueError, match=r"^Too many bad records: 3 .* where 2 may be"):
        read(2 / 40)
    with pytest.raises(ValueError, match="between 0 and 1"):
        read(2)
    with pytest.raises(ValueError, match="on_error='ignore'"):
        read_records(damaged, "train", on_error="ignore")


def test_damage_is_named_where_it_is_an_error(sound, tmp_path):
    path = shutil.copytree(sound, tmp_path / "toy/1.0.0")
    flip(min(path.glob("*.tfrecord*")), b"r1")
    with pytest.raises(ValueError, match=r"corrupt record, number 1 .*tfrecord-00000"):
        first_records(path, "train", 40)
