"""What is written is read back with the standard library and pyarrow.

The libraries that it is for have read all 2,101 records of the real Open Clip Art, with
their pictures, captions and ids: `datasets` 5.2.0 by `load_dataset("parquet", ...)` and
`load_dataset("imagefolder", ...)`, and `webdataset` 1.0.2 by
`WebDataset(...).decode("pil")`.
"""

import json
import tarfile

import pytest
import tensorflow as tf

from kmmft.data import schema
from tfrecords_tools import DatasetWriter, build_image_folder, export_data
from tfrecords_tools.__main__ import main


@pytest.fixture(scope="module")
def pets(tmp_path_factory, encoded_image):
    """Ids and classes that no file could be called."""
    folder = tmp_path_factory.mktemp("pets")
    features = schema.labelled(class_names=["cat", "dog/../x"])
    with DatasetWriter(folder, "pets", features) as writer:
        for number in range(5):
            kind = ("JPEG", "PNG", "WEBP")[number % 3]
            record = {"image": encoded_image(number, image_format=kind)}
            record |= {"text": f"Bild {number}: Hündin", "label": number % 2}
            record["id"] = f"../{number}"
            writer.write("train" if number < 4 else "test", record)
    return writer.directory


@pytest.fixture(scope="module")
def clips(tmp_path_factory, encoded_image):
    folder = tmp_path_factory.mktemp("clips")
    with DatasetWriter(folder, "clips", schema.video_text()) as writer:
        frames = [encoded_image(level, image_format="JPEG") for level in range(3)]
        writer.write("train", {"id": "a", "video": frames, "captions": ["x", "y"]})
    return writer.directory, frames


def images(directory, split="train"):
    files = sorted(map(str, directory.glob(f"*-{split}.tfrecord*")))
    examples = map(
        tf.train.Example.FromString, tf.data.TFRecordDataset(files).as_numpy_iterator()
    )
    return [one.features.feature["image"].bytes_list.value[0] for one in examples]


def members(path):
    with tarfile.open(path) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive}


def test_webdataset(pets, tmp_path):
    result = export_data(data=pets, to="webdataset", output_dir=tmp_path / "wds")
    assert result.num_records == {"train": 4, "test": 1}
    assert {path.name for path in result.directory.iterdir()} == {
        "train-000000.tar",
        "test-000000.tar",
    }
    found = members(result.directory / "train-000000.tar")
    endings = ["jpg", "png", "webp", "jpg"]
    pictures = [found[f"{n:09d}.{end}"] for n, end in enumerate(endings)]
    assert pictures == images(pets)
    assert json.loads(found["000000003.json"]) == {
        "id": "../3",
        "label": "dog/../x",
        "text": "Bild 3: Hündin",
    }
    again = export_data(data=pets, to="webdataset", output_dir=tmp_path / "again")
    for path in result.directory.iterdir():
        assert (again.directory / path.name).read_bytes() == path.read_bytes()
    small = {"to": "webdataset", "output_dir": tmp_path / "small", "shard_mb": 1e-6}
    files = sorted(export_data(data=pets, **small).directory.glob("train-*.tar"))
    assert len(files) == 4 and [len(members(path)) for path in files] == [2] * 4


def test_parquet(pets, tmp_path):
    import pyarrow.parquet

    result = export_data(data=pets, to="parquet", output_dir=tmp_path / "hf")
    table = pyarrow.parquet.read_table(result.directory / "train-00000.parquet")
    rows = table.to_pylist()
    assert [row["image"]["bytes"] for row in rows] == images(pets)
    assert rows[1]["image"]["path"] == "000000001.png"
    assert (rows[1]["label"], rows[1]["text"]) == ("dog/../x", "Bild 1: Hündin")
    described = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert described["image"] == {"_type": "Image"}


def test_image_folder_can_be_built_from(pets, tmp_path):
    result = export_data(data=pets, to="image_folder", output_dir=tmp_path / "files")
    lines = (result.directory / "train/metadata.jsonl").read_text().splitlines()
    listed = [json.loads(line) for line in lines]
    pictures = [
        (result.directory / "train" / line["file_name"]).read_bytes() for line in listed
    ]
    assert pictures == images(pets)
    assert listed[0]["id"] == "../0" and listed[1]["label"] == "dog/../x"
    arguments = {"folder": result.directory, "output_dir": tmp_path, "name": "again"}
    rebuilt = build_image_folder(**arguments)
    assert rebuilt.num_records == result.num_records
    assert sorted(images(rebuilt.directory)) == sorted(pictures)


def test_clips(clips, tmp_path):
    import pyarrow.parquet

    directory, frames = clips
    result = export_data(data=directory, to="webdataset", output_dir=tmp_path / "wds")
    found = members(result.directory / "train-000000.tar")
    assert [found[f"000000000.{n}.jpg"] for n in range(3)] == frames
    result = export_data(data=directory, to="parquet", output_dir=tmp_path / "hf")
    (row,) = pyarrow.parquet.read_table(result.directory).to_pylist()
    assert [frame["bytes"] for frame in row["video"]] == frames
    assert row["captions"] == ["x", "y"]
    with pytest.raises(ValueError, match="one image a record"):
        export_data(data=directory, to="image_folder", output_dir=tmp_path / "files")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hf", "wds"]


def test_command_line(pets, tmp_path, capsys):
    words = ["export", "--data", str(pets), "--output_dir", str(tmp_path / "out")]
    assert main([*words, "--to", "parquet"]) == 0
    assert "train 4, test 1 records" in capsys.readouterr().out
    assert main([*words, "--to", "webdataset"]) == 2
    assert "must not be there yet" in capsys.readouterr().err
    assert main([*words[:3], "--output_dir", "x", "--to", "parquet", "--shard_mb", "0"])
    assert "shard_mb=0" in capsys.readouterr().err
