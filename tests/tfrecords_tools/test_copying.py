import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from kmmft.data import schema
from tfrecords_tools import DatasetWriter, merge_data, reshard_data, sample_data
from tfrecords_tools.__main__ import main


def write(folder, name, ids, class_names=("cat", "dog"), shards=None):
    features = schema.labelled(image=False, class_names=class_names)
    with DatasetWriter(folder, name, features, num_shards=shards) as writer:
        for number, record_id in enumerate(ids):
            label = class_names[number % len(class_names)]
            record = {"id": record_id, "text": f"a {label}", "label": label}
            writer.write("test" if number % 5 == 4 else "train", record)
    return writer.directory


def payloads(directory, split="train"):
    files = sorted(map(str, directory.glob(f"*-{split}.tfrecord*")))
    return [raw.numpy() for raw in tf.data.TFRecordDataset(files)]


def records(directory, split="train"):
    builder = tfds.builder_from_directory(str(directory))
    names = builder.info.features["label"].names
    return {
        record["id"].decode(): (names[record["label"]], record["text"].decode())
        for record in tfds.as_numpy(builder.as_dataset(split))
    }


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pets")
    return write(folder, "pets", [f"pet/{number}" for number in range(100)], shards=3)


def test_reshard_keeps_bytes_and_order(pets, tmp_path):
    result = reshard_data(data=pets, output_dir=tmp_path, num_shards=8)
    assert result.directory == tmp_path / "pets/1.0.0"
    assert len(list(result.directory.glob("*-train.tfrecord-*"))) == 8
    assert payloads(result.directory) == payloads(pets)
    assert records(result.directory, "test") == records(pets, "test")
    with pytest.raises(ValueError, match="exists"):
        reshard_data(data=pets, output_dir=tmp_path)


def test_merge_unites_classes(pets, tmp_path):
    other = write(tmp_path, "zoo", ["a", "b", "c", "d", "e", "f"], ("emu", "dog"))
    result = merge_data(data=[pets, other], output_dir=tmp_path, name="all")
    builder = tfds.builder_from_directory(str(result.directory))
    assert builder.info.features["label"].names == ["cat", "dog", "emu"]
    assert records(result.directory) == records(pets) | records(other)
    assert payloads(result.directory)[: len(payloads(pets))] == payloads(pets)


def test_merge_of_the_same_ids(pets, tmp_path):
    other = write(tmp_path, "more", ["pet/1", "x"])
    arguments = {"data": [pets, other], "output_dir": tmp_path, "name": "all"}
    with pytest.raises(ValueError, match="'pet/1'"):
        merge_data(**arguments)
    assert not (tmp_path / "all").exists()
    found = records(merge_data(**arguments, prefix_ids=True).directory)
    assert found["pets/pet/1"] == ("dog", "a dog")
    assert found["more/pet/1"] == ("cat", "a cat")


def test_merge_of_other_features(pets, tmp_path):
    features = schema.labelled(text=True, image=False, class_names=["cat"])
    features = tfds.features.FeaturesDict({**features, "more": tfds.features.Text()})
    with DatasetWriter(tmp_path, "other", features) as writer:
        record = {"id": "a", "text": "", "label": 0, "more": ""}
        writer.write("train", record)
    with pytest.raises(ValueError, match=r"same features.*more.*in .*other"):
        merge_data(data=[pets, writer.directory], output_dir=tmp_path, name="all")
    with pytest.raises(ValueError, match="Two datasets"):
        merge_data(data=[pets], output_dir=tmp_path, name="all")


@pytest.mark.parametrize(
    "small, large",
    [
        ({"fraction": 0.2}, {"fraction": 0.5}),
        ({"num_records": 7}, {"num_records": 30}),
        ({"per_class": 4}, {"per_class": 9}),
    ],
)
def test_larger_samples_hold_the_smaller(pets, tmp_path, small, large):
    arguments = {"data": pets, "output_dir": tmp_path}
    found = {
        name: payloads(sample_data(name=name, **arguments, **amount).directory)
        for name, amount in (("small", small), ("large", large))
    }
    assert set(found["small"]) < set(found["large"]) < set(payloads(pets))
    # They stand in their old order.
    order = payloads(pets)
    assert [p for p in order if p in set(found["large"])] == found["large"]
    other = sample_data(name="other", seed=1, **arguments, **small)
    assert set(payloads(other.directory)) != set(found["small"])


def test_samples_have_the_size_that_was_asked_for(pets, tmp_path):
    arguments = {"data": pets, "output_dir": tmp_path}
    result = sample_data(name="a", num_records=30, **arguments)
    assert result.num_records == {"train": 30, "test": 20}
    result = sample_data(name="b", per_class=4, splits=["train"], **arguments)
    assert result.num_records == {"train": 8}
    labels = [label for label, _ in records(result.directory).values()]
    assert labels.count("cat") == labels.count("dog") == 4
    result = sample_data(name="c", fraction=1.0, **arguments)
    assert payloads(result.directory) == payloads(pets)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "Received: none"),
        ({"fraction": 0.5, "num_records": 3}, "One of fraction"),
        ({"fraction": 1.5}, "One of fraction"),
        ({"num_records": 0}, "One of fraction"),
        ({"fraction": 0.5, "splits": ["tset"]}, r"\['tset'\].*'test'"),
    ],
)
def test_amounts_that_are_not_clear(pets, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        sample_data(data=pets, output_dir=tmp_path, name="few", **arguments)


def test_broken_record_is_named(pets, tmp_path):
    copy = reshard_data(data=pets, output_dir=tmp_path, num_shards=1).directory
    shard = next(copy.glob("*-train*"))
    data = bytearray(shard.read_bytes())
    data[20] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ValueError, match=r"record 0 \(byte 0\).*verify --repair"):
        reshard_data(data=copy, output_dir=tmp_path / "new")
    assert not list((tmp_path / "new").glob("*"))


def test_command_line(pets, tmp_path, capsys):
    words = ["--data", str(pets), "--output_dir", str(tmp_path), "--name", "few"]
    assert main(["sample", *words, "--num_records", "3"]) == 0
    assert "train 3, test 3 records" in capsys.readouterr().out
    assert main(["sample", *words]) == 2
    assert "say how many" in capsys.readouterr().err
