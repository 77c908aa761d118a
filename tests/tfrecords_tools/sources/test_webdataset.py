import io
import json
import tarfile

import pytest
import tensorflow_datasets as tfds

from tfrecords_tools import BuildOptions, build_webdataset, export_data
from tfrecords_tools.__main__ import main


def pack(path, files, links=(), mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(member)


def records(directory, split="train"):
    builder = tfds.builder_from_directory(str(directory))
    found = tfds.as_numpy(builder.as_dataset(split))
    return {record["id"].decode(): record for record in found}


@pytest.fixture
def samples(encoded_image):
    """Files of samples, in folders, with dots in their endings."""
    files = {}
    for number, folder in enumerate(["", "b/", "../"]):
        key = f"{folder}00{number}"
        files[f"{key}.jpg"] = encoded_image(number, image_format="JPEG")
        files[f"{key}.txt"] = f"Bild {number}\n".encode()
        files[f"{key}.json"] = json.dumps({"caption": f"json {number}"}).encode()
        files[f"{key}.cls"] = str(number % 2).encode()
        files[f"{key}.seg.png"] = b"other"
    return files


def test_captions_and_splits(samples, tmp_path):
    pack(tmp_path / "a-0.tar", samples)
    shards = [f"val={tmp_path}/a-*.tar"]
    arguments = {"shards": shards, "output_dir": tmp_path / "data", "name": "a"}
    result = build_webdataset(**arguments)
    assert result.num_records == {"validation": 3}
    found = records(result.directory, "validation")
    assert set(found) == {"000", "b/001", "../002"}
    assert found["../002"]["captions"].tolist() == [b"Bild 2"]
    # Nothing was unpacked beside the data, or outside of it.
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_dir()) == [
        "1.0.0",
        "a",
        "data",
    ]
    result = build_webdataset(
        caption="json.caption", options=BuildOptions(overwrite=True), **arguments
    )
    found = records(result.directory, "validation")
    assert found["000"]["captions"].tolist() == [b"json 0"]


def test_labels_and_texts(samples, tmp_path):
    pack(tmp_path / "a.tar", samples)
    arguments = {"shards": [f"train={tmp_path}/a.tar"], "output_dir": tmp_path}
    found = records(build_webdataset(name="a", label="cls", **arguments).directory)
    assert found["b/001"]["label"] == 1 and found["b/001"]["text"] == b"Bild 1"
    words = ["build", "webdataset", "--shards", arguments["shards"][0], "--name", "b"]
    words += ["--output_dir", str(tmp_path), "--caption", "None", "--label", "cls"]
    assert main(words) == 0
    assert "text" not in records(tmp_path / "b/1.0.0")["000"]


def test_what_we_export_comes_back(samples, tmp_path):
    pack(tmp_path / "a.tar", samples)
    first = build_webdataset(
        shards=[f"train={tmp_path}/a.tar"], output_dir=tmp_path, name="a"
    )
    export_data(data=first.directory, to="webdataset", output_dir=tmp_path / "wds")
    again = build_webdataset(
        shards=[f"train={tmp_path}/wds/train-*.tar"],
        output_dir=tmp_path,
        name="again",
        caption="json.captions",
    )
    captions = {
        tuple(record["captions"].tolist())
        for record in records(again.directory).values()
    }
    assert captions == {(b"Bild 0",), (b"Bild 1",), (b"Bild 2",)}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"000.jpg": None}, r"a\.tar sample 000: There is no image"),
        ({"000.txt": None}, r"a\.tar sample 000: .*'caption' is empty"),
        ({"000.txt": b"\xff\xfe"}, r"sample 000: Its texts cannot be read"),
        ({"000.jpg": b""}, r"sample 000: .*has no bytes"),
    ],
)
def test_bad_samples_are_named_or_skipped(samples, tmp_path, change, message):
    files = {k: v for k, v in (samples | change).items() if v is not None}
    pack(tmp_path / "a.tar", files)
    arguments = {"shards": [f"train={tmp_path}/a.tar"], "output_dir": tmp_path}
    with pytest.raises(ValueError, match=message):
        build_webdataset(name="a", **arguments)
    result = build_webdataset(
        name="a", options=BuildOptions(skip_bad=True), **arguments
    )
    assert set(records(result.directory)) == {"b/001", "../002"}
    assert result.num_skipped == 1


def test_bad_archives(samples, tmp_path):
    arguments = {"output_dir": tmp_path / "data", "name": "a"}
    path = tmp_path / "a.tar"
    pack(path, samples, links=["009.jpg"])
    with pytest.raises(ValueError, match=r"a\.tar member 009\.jpg: It is a link"):
        build_webdataset(shards=[str(path)], **arguments)
    pack(path, samples)
    whole = path.read_bytes()
    # In a header, in a file, between files.
    for size in (100, 800, 1600, 2048):
        path.write_bytes(whole[:size])
        message = r"a\.tar, which cannot be read after \d"
        with pytest.raises(ValueError, match=message):
            build_webdataset(shards=[str(path)], **arguments)
    with pytest.raises(ValueError, match="matches nothing"):
        build_webdataset(shards=[str(tmp_path / "b-*.tar")], **arguments)
    with pytest.raises(ValueError, match="caption or a label"):
        build_webdataset(shards=[str(path)], caption=None, **arguments)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_archives(samples, tmp_path, mode):
    pack(tmp_path / "a.tar", samples)
    pack(tmp_path / "b.tar", samples, mode=mode)
    arguments = {"output_dir": tmp_path / "data", "validation_fraction": 0.0}
    arguments["test_fraction"] = 0.0
    plain, packed = (
        build_webdataset(shards=[str(tmp_path / f"{name}.tar")], name=name, **arguments)
        for name in "ab"
    )
    first, second = (next(one.directory.glob("*-train*")) for one in (plain, packed))
    assert first.read_bytes() == second.read_bytes()
    (tmp_path / "b.tar").write_bytes((tmp_path / "b.tar").read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"whole \.tar.*b\.tar, which cannot be unc"):
        build_webdataset(shards=[str(tmp_path / "b.tar")], name="c", **arguments)
