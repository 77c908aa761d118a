import gzip
import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from kmmft.data import schema
from kmmft.data.framing import frame
from tfrecords_tools import DatasetWriter, verify, verify_data
from tfrecords_tools.__main__ import main

SHARD = "pets-train.tfrecord-00001-of-00002"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory, encoded_image):
    features = schema.labelled(text=False, class_names=["cat", "dog"])
    folder = tmp_path_factory.mktemp("pristine")
    with DatasetWriter(folder, "pets", features, num_shards={"train": 2}) as writer:
        for number in range(6):
            record = {"image": encoded_image(number), "label": number % 2}
            writer.write("train", {"id": f"id-{number}", **record})
        writer.write("test", {"id": "test", **record})
    return writer.directory


@pytest.fixture
def data(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "pets/1.0.0")


def contents(directory):
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def payloads(directory, shard=SHARD):
    return [raw.numpy() for raw in tf.data.TFRecordDataset(str(directory / shard))]


def ids(directory, split="train"):
    builder = tfds.builder_from_directory(str(directory))
    found = [
        record["id"].decode() for record in tfds.as_numpy(builder.as_dataset(split))
    ]
    assert builder.info.splits[split].num_examples == len(found)
    return found


def change(directory, **values):
    """The second record of the shard with other values, soundly framed."""
    first, second, third = payloads(directory)
    example = tf.train.Example.FromString(second)
    for name, value in values.items():
        feature = example.features.feature[name]
        feature.Clear()
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        elif value is not None:
            feature.int64_list.value.append(value)
    changed = (first, example.SerializeToString(deterministic=True), third)
    (directory / SHARD).write_bytes(b"".join(map(frame, changed)))


def test_whole_data_are_not_touched(data, pristine):
    result = verify_data(data=data.parent, repair=True)
    assert result.findings == () and result.exit_code == 0 and not result.repaired
    assert result.num_records == {"train": 6, "test": 1}
    assert contents(data) == contents(pristine)


def test_flipped_byte_is_named_and_repaired(data, pristine):
    broken = bytearray((data / SHARD).read_bytes())
    offset = 16 + len(payloads(data)[0])
    broken[offset + 30] ^= 255
    (data / SHARD).write_bytes(broken)
    (finding,) = verify_data(data=data).findings
    assert (finding.shard, finding.record, finding.offset) == (SHARD, 1, offset)
    assert "checksum" in finding.reason and finding.lost
    before = contents(data)
    result = verify_data(data=data, repair=True)
    assert result.repaired and result.exit_code == 0
    assert ids(data) == ["id-0", "id-1", "id-2", "id-3", "id-5"]
    (line,) = (data / "quarantine/quarantine.jsonl").read_text().splitlines()
    entry = json.loads(line)
    assert (entry["shard"], entry["record"], entry["offset"]) == (SHARD, 1, offset)
    raw = (data / "quarantine" / entry["file"]).read_bytes()
    assert raw == bytes(broken[offset : offset + entry["num_bytes"]])
    after = contents(data)
    # What was whole has the bytes that it had.
    other = SHARD.replace("00001-of", "00000-of")
    assert after[other] == before[other] == contents(pristine)[other]
    assert verify_data(data=data, repair=True).findings == ()
    assert contents(data) == after
    assert [path.name for path in data.parent.iterdir()] == ["1.0.0"]


def test_broken_length_loses_nothing(data, pristine):
    broken = bytearray((data / SHARD).read_bytes())
    broken[1] ^= 255
    (data / SHARD).write_bytes(broken)
    (finding,) = verify_data(data=data).findings
    assert "record itself is whole" in finding.reason and not finding.lost
    verify_data(data=data, repair=True)
    assert contents(data)[SHARD] == contents(pristine)[SHARD]
    assert ids(data) == ids(pristine)


def test_cut_file(data):
    path = data / SHARD
    path.write_bytes(path.read_bytes()[:-3])
    (finding,) = verify_data(data=data).findings
    assert finding.record == 2 and "The file ends after" in finding.reason
    verify_data(data=data, repair=True)
    assert ids(data) == ["id-0", "id-1", "id-2", "id-3", "id-4"]


def test_empty_file(data):
    (data / SHARD).write_bytes(b"")
    (finding,) = verify_data(data=data).findings
    assert "There are 0 records; declared are 3." in str(finding)
    verify_data(data=data, repair=True)
    assert ids(data) == ["id-0", "id-1", "id-2"]
    assert verify_data(data=data).findings == ()


@pytest.mark.parametrize(
    "values, reason, record_id",
    [
        ({"image": b"\xff\xd8\xff cut"}, "cannot be decoded", "id-4"),
        ({"image": b"<svg/>"}, "is an SVG", "id-4"),
        ({"label": 7}, "The label is 7, of 2 classes", "id-4"),
        ({"label": b"dog"}, "Key: label. Data types", None),
        ({"image": None}, "lacks its features", None),
        ({"id": b"id-0"}, "that of pets-train.tfrecord-00000-of-00002 rec", "id-0"),
    ],
)
def test_records_that_are_not_what_they_should_be(data, values, reason, record_id):
    change(data, **values)
    (finding,) = verify_data(data=data).findings
    assert reason in finding.reason, finding
    assert finding.record == 1 and finding.id == record_id and finding.lost
    verify_data(data=data, repair=True)
    assert ids(data) == ["id-0", "id-1", "id-2", "id-3", "id-5"]


def test_other_bytes_of_the_same_records(data):
    change(data, label=1)
    (finding,) = verify_data(data=data).findings
    assert finding.shard == SHARD and "SHA-256" in finding.reason
    verify_data(data=data, repair=True)
    assert verify_data(data=data).findings == ()


def test_counts_that_are_not_as_declared(data):
    (data / SHARD).write_bytes(b"".join(map(frame, payloads(data)[:2])))
    (finding,) = verify_data(data=data).findings
    assert "There are 2 records; declared are 3." in finding.reason


def test_a_record_that_begins_like_gzip_is_none(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(frame(bytes(0x088B1F)))
    assert file.read_bytes().startswith(gzip.compress(b"")[:3])
    assert verify._begins_with_record(str(file))
    file.write_bytes(gzip.compress(file.read_bytes()))
    assert not verify._begins_with_record(str(file))


def test_files_that_are_too_many_or_missing_or_packed(data):
    shutil.copy(data / SHARD, data / "pets-train.tfrecord-00002-of-00003")
    (finding,) = verify_data(data=data).findings
    assert "belongs to no split" in finding.reason
    (data / "pets-train.tfrecord-00002-of-00003").unlink()
    (data / SHARD).write_bytes(gzip.compress((data / SHARD).read_bytes()))
    before = contents(data)
    with pytest.raises(ValueError, match=f"{SHARD}.*gzip"):
        verify_data(data=data, repair=True)
    (data / SHARD).unlink()
    with pytest.raises(ValueError, match=f"{SHARD}.*missing"):
        verify_data(data=data, repair=True)
    del before[SHARD]
    assert contents(data) == before
    with pytest.raises(ValueError, match="does not exist"):
        verify_data(data=data / "nowhere")


def written(folder, features, records):
    with DatasetWriter(folder, "set", tfds.features.FeaturesDict(features)) as writer:
        for number, record in enumerate(records):
            writer.write("train", {"id": f"{number}"} | record)
    return writer.directory


def test_records_that_may_lack_their_image(tmp_path, encoded_image):
    """Of `labelled` only, and for another input."""
    features = schema.labelled(class_names=["a"], numbers=["age"])
    nothing = {"image": b"", "text": "", "age": np.nan, "label": "a"}
    given = [{"text": "words"}, {"image": encoded_image(0)}, {"age": 0.0}, {}]
    data = written(tmp_path, features, [nothing | record for record in given])
    result = verify_data(data=data)
    assert result.num_without_image == 2
    assert "train 3 whole records, 2 of them without an image" in str(result)
    (finding,) = result.findings
    assert finding.record == 3 and "image" in finding.reason and finding.lost


@pytest.mark.parametrize("also", [{"size": np.int64}, {"tags": tfds.features.Text()}])
def test_an_image_that_must_be_there(tmp_path, also):
    """A file name is no input of a schema that is not ours, with lists and dicts."""
    text = tfds.features.Text()
    features = dict(schema.labelled(text=False, class_names=["a"]).items())
    features |= {
        "file_name": text,
        "boxes": tfds.features.Sequence({"name": text, "area": np.float32}),
        "sizes": tfds.features.Sequence(np.float32),
        "more": also,
    }
    record = {"image": b"", "file_name": "a.png", "label": "a", "sizes": [1.0, 2.0]}
    record |= {"boxes": [{"name": "b", "area": 1.0}], "more": dict.fromkeys(also, 1)}
    if "tags" in also:
        record["more"] = {"tags": "x"}
    (finding,) = verify_data(data=written(tmp_path, features, [record])).findings
    assert finding.id == "0" and "image" in finding.reason and finding.lost


def test_stray_shards_go_into_quarantine(data, pristine):
    stray = SHARD.replace("00001-of-00002", "00002-of-00003")
    shutil.copy(data / SHARD, data / stray)
    result = verify_data(data=data, repair=True)
    assert result.exit_code == 0 and "1 bad stretches or files" in str(result)
    assert verify_data(data=data).findings == ()
    (line,) = (data / "quarantine/quarantine.jsonl").read_text().splitlines()
    entry = json.loads(line)
    assert entry["shard"] == stray and "belongs to no split" in entry["reason"]
    after = contents(data)
    assert after.pop(f"quarantine/{entry['file']}") == contents(pristine)[SHARD]
    assert stray not in after and ids(data) == ids(pristine)


def test_data_that_cannot_be_replaced_stay(data, monkeypatch):
    change(data, label=7)
    before, rename = contents(data), pathlib.Path.rename

    def fails_for_the_new_one(path, target):
        if target == data and not path.name.endswith("-old"):
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(pathlib.Path, "rename", fails_for_the_new_one)
    with pytest.raises(ValueError, match=r"\(Permission denied\) and is as it was"):
        verify_data(data=data, repair=True)
    assert [path.name for path in data.parent.iterdir()] == ["1.0.0"]
    assert contents(data) == before


def test_command_line(data, capsys):
    assert main(["verify", "--data", str(data)]) == 0
    assert "train 6, test 1 whole records; nothing is wrong" in capsys.readouterr().out
    change(data, label=7)
    assert main(["verify", "--data", str(data), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["findings"][0]["id"] == "id-4" and found["num_records"]["train"] == 5
    assert main(["verify", "--data", str(data), "--repair"]) == 0
    assert "repaired; 1 bad" in capsys.readouterr().out
