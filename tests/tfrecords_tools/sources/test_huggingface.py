"""`golden/huggingface` was written by Hugging Face's `datasets` 5.2.0.

The script beside it made it.
"""

import json
import pathlib
import shutil

import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest
import tensorflow_datasets as tfds

from kmmft.data import schema
from tfrecords_tools import (
    BuildOptions,
    DatasetWriter,
    build_huggingface,
    build_manifest,
    export_data,
)
from tfrecords_tools.__main__ import main
from tfrecords_tools.sources.huggingface_files import find_tables

GOLDEN = pathlib.Path(__file__).parent / "golden" / "huggingface"
CAPTIONS = {"image_column": "image", "caption_column": "captions"}
LABELS = {"image_column": "image", "label_column": "label"}


def build(data, tmp_path, name="set", **arguments):
    arguments = {"validation_fraction": 0.0, "test_fraction": 0.0} | arguments
    data = [str(one) for one in (data if isinstance(data, list) else [data])]
    return build_huggingface(data=data, output_dir=tmp_path, name=name, **arguments)


def records(directory, split="train"):
    builder = tfds.builder_from_directory(str(directory))
    decoders = {"image": tfds.decode.SkipDecoding()}
    found = tfds.as_numpy(builder.as_dataset(split, decoders=decoders))
    return {record["id"].decode(): record for record in found}


def picture(row):
    return row["image"]["bytes"]


def rows_of(path):
    return pyarrow.parquet.read_table(path).to_pylist()


def write(path, **columns):
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


@pytest.mark.parametrize("layout", ["hub", "saved"])
def test_what_datasets_wrote(layout, tmp_path):
    result = build(GOLDEN / layout, tmp_path, **CAPTIONS)
    assert result.num_records == {"train": 3, "test": 2}
    features = tfds.builder_from_directory(result.directory).info.features
    assert repr(features) == repr(schema.image_text())
    written = rows_of(GOLDEN / "hub/data/train-00000-of-00001.parquet")
    found = {
        one["image"]: [text.decode() for text in one["captions"]]
        for one in records(result.directory).values()
    }
    assert found == {picture(row): row["captions"] for row in written}
    # No file that was unpacked is left.
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_classes_keep_their_numbers(tmp_path):
    result = build(GOLDEN / "hub", tmp_path, **LABELS)
    features = tfds.builder_from_directory(result.directory).info.features
    assert features["label"].names == ["wolf", "cat", "axolotl"]
    found = records(result.directory)
    assert {key: one["label"] for key, one in found.items()} == {
        "data/train-00000-of-00001-0000001": 0,
        "data/train-00000-of-00001-0000002": 1,
        "data/train-00000-of-00001-0000003": 0,
    }


def test_a_single_saved_set_and_fields_inside_of_columns(tmp_path):
    columns = {"image_column": "image", "caption_column": "sentences.raw"}
    result = build(GOLDEN / "one", tmp_path, **columns, test_fraction=0.0)
    captions = [list(one["captions"]) for one in records(result.directory).values()]
    assert sorted(captions) == [[b"raw 0"], [b"raw 2"]]


def test_what_we_export_comes_back(tmp_path, encoded_image):
    # Two records of the same picture are two records.
    with DatasetWriter(tmp_path, "first", schema.image_text()) as writer:
        for number in range(5):
            image = encoded_image(number // 2, ["PNG", "JPEG"][number // 2 % 2])
            record = {"id": f"../{number}", "image": image}
            record["captions"] = [f"Größe {number}", "zwei"]
            writer.write("train" if number else "test", record)
    export_data(data=writer.directory, to="parquet", output_dir=tmp_path / "hf")
    again = build(tmp_path / "hf", tmp_path, **CAPTIONS, id_column="id")
    for split in ("train", "test"):
        first, second = (
            records(writer.directory, split),
            records(again.directory, split),
        )
        assert first.keys() == second.keys()
        for key, record in first.items():
            assert record["image"] == second[key]["image"]
            assert list(record["captions"]) == list(second[key]["captions"])
    # Same input, same bytes.
    twice = build(tmp_path / "hf", tmp_path / "twice", **CAPTIONS, id_column="id")
    for path in again.directory.iterdir():
        assert path.read_bytes() == (twice.directory / path.name).read_bytes()


def test_rows_of_one_image_make_one_record(tmp_path, encoded_image):
    images = [encoded_image(0), encoded_image(1), encoded_image(0)]
    path = write(tmp_path / "a.parquet", image=images, text=["a", "b", "c"])
    columns = {"image_column": "image", "caption_column": "text"}
    result = build(path, tmp_path, **columns)
    captions = [list(one["captions"]) for one in records(result.directory).values()]
    assert sorted(captions) == [[b"a", b"c"], [b"b"]]
    # The same by `build manifest`.
    manifest = {"manifest": path, "output_dir": tmp_path / "m", "name": "set"}
    fractions = {"validation_fraction": 0.0, "test_fraction": 0.0}
    again = build_manifest(**manifest, **columns, **fractions)
    for file in result.directory.iterdir():
        assert file.read_bytes() == (again.directory / file.name).read_bytes()
    # An id with two pictures is a mistake.
    write(tmp_path / "b.parquet", image=images[:2], text=["a", "b"], id=["x", "x"])
    with pytest.raises(ValueError, match=r"b\.parquet line 2: The id 'x' belongs to"):
        build(tmp_path / "b.parquet", tmp_path, name="b", **columns, id_column="id")


def test_questions_in_feather_and_images_beside_the_table(tmp_path, encoded_image):
    (tmp_path / "files").mkdir()
    (tmp_path / "files/0.png").write_bytes(encoded_image(0))
    columns = {
        "image": [{"bytes": None, "path": "files/0.png"}] * 2,
        "question": ["What?", "Why?"],
        "answer": [3, 4],
        "part": ["train", "val"],
    }
    # Not a stream but a file of Arrow.
    path = tmp_path / "a.arrow"
    pyarrow.feather.write_feather(pyarrow.table(columns), path, compression="lz4")
    flags = {f"{name}_column": name for name in ("image", "question", "answer")}
    result = build(path, tmp_path, split_column="part", **flags)
    assert result.num_records == {"train": 1, "validation": 1}
    (record,) = records(result.directory, "validation").values()
    assert (record["answer"], record["image"]) == (b"4", encoded_image(0))


def test_bad_rows_are_named_or_skipped(tmp_path, encoded_image):
    metadata = {"info": {"features": {"label": {"names": "ab", "_type": "ClassLabel"}}}}
    images = [encoded_image(n) for n in range(4)]
    table = pyarrow.table(
        {
            "image": [images[0], b"", images[2][:40], images[3]],
            "label": [1, 0, 0, -1],
        }
    ).replace_schema_metadata({"huggingface": json.dumps(metadata)})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(
        ValueError, match=r"a\.parquet line 4: The column 'label' is em"
    ):
        build(tmp_path / "a.parquet", tmp_path, **LABELS)
    skip = BuildOptions(skip_bad=True)
    result = build(tmp_path / "a.parquet", tmp_path, **LABELS, options=skip)
    assert result.num_records == {"train": 1} and result.num_skipped == 3
    listed = (result.directory / "skipped.jsonl").read_text().splitlines()
    reasons = {json.loads(one)["line"]: json.loads(one)["reason"] for one in listed}
    assert "has no bytes" in reasons[2] and "cannot be decoded" in reasons[3]


def test_broken_tables(tmp_path):
    whole = (GOLDEN / "hub/data/train-00000-of-00001.parquet").read_bytes()
    path = tmp_path / "train.parquet"
    path.write_bytes(whole[:1000])
    with pytest.raises(ValueError, match=r"whole Parquet or Arrow.*train\.parquet"):
        build(path, tmp_path, **CAPTIONS)
    # The head of the pictures' page is overwritten.
    source = pyarrow.BufferReader(whole)
    column = pyarrow.parquet.read_metadata(source).row_group(0).column(0)
    place = column.dictionary_page_offset or column.data_page_offset
    path.write_bytes(whole[:place] + b"\xff" * 20 + whole[place + 20 :])
    with pytest.raises(ValueError, match=r"train\.parquet line 1: This row and the ro"):
        build(path, tmp_path, **CAPTIONS)
    other = write(tmp_path / "train-2.parquet", image=[b""], label=["cat"])
    names = r"'label' with 3 names \(wolf, cat, axolotl\) in .* with no names in"
    with pytest.raises(ValueError, match=names):
        build([GOLDEN / "hub", other], tmp_path, **LABELS)
    with pytest.raises(
        ValueError, match="no column 'captoins'; did you mean 'captions"
    ):
        wrong = {"image_column": "image", "caption_column": "captoins"}
        build(GOLDEN / "hub", tmp_path, **wrong)
    with pytest.raises(ValueError, match=r"where there are none; mend the path"):
        build(tmp_path / "nothing", tmp_path, **CAPTIONS)


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("train-00000-of-00002.parquet", "train"),
        ("unsupervised-00000.parquet", "unsupervised"),
        ("default/dev/0000.parquet", "validation"),
        ("beans-test.arrow", "test"),
        ("data-00000-of-00001.arrow", None),
        ("latest.parquet", None),
    ],
)
def test_splits_by_name(file, split, tmp_path):
    path = tmp_path / "set" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    (path.parent / ".hidden.parquet").write_bytes(b"")
    (table,) = find_tables([str(tmp_path / "set")])
    assert table.split == split
    (table,) = find_tables([f"val={path}"])
    assert table.split == "validation"


def test_command_line(tmp_path, capsys):
    shutil.copytree(GOLDEN / "hub", tmp_path / "hub")
    words = ["build", "huggingface", "--data", str(tmp_path / "hub"), "--name", "set"]
    words += ["--image_column", "image", "--label_column", "label"]
    assert main([*words, "--output_dir", str(tmp_path)]) == 0
    assert "train 3, test 2 records" in capsys.readouterr().out
