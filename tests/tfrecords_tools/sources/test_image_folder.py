import pytest
import tensorflow_datasets as tfds

from tfrecords_tools import BuildOptions, build_image_folder


@pytest.fixture
def fill(tmp_path, encoded_image):
    def write(*names):
        for name in names:
            path = tmp_path / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            formats = {".jpg": "JPEG", ".webp": "WEBP", ".gif": "GIF", ".bmp": "BMP"}
            path.write_bytes(encoded_image(5, formats.get(path.suffix.lower(), "PNG")))
        return tmp_path / "in"

    return write


def build(folder, **options):
    return build_image_folder(
        folder=folder, output_dir=folder.parent / "out", name="photos", **options
    )


def labels(result, split):
    builder = tfds.builder_from_directory(result.directory)
    names = builder.info.features["label"].names
    # TFDS itself decodes no WebP and no GIF of this shape.
    decoders = {"image": tfds.decode.SkipDecoding()}
    records = tfds.as_numpy(builder.as_dataset(split, decoders=decoders))
    return {record["id"].decode(): names[record["label"]] for record in records}


def test_folders_per_split(fill, caplog):
    folder = fill(
        "train/dog/1.jpg",
        "train/cat/1.webp",
        "train/cat/deep/2.PNG",
        "val/dog/3.gif",
        "test/dog/4.bmp",
        "train/cat/notes.txt",
    )
    (folder / "train" / "cat" / ".DS_Store").write_bytes(b"")
    result = build(folder)
    assert result.num_records == {"train": 3, "validation": 1, "test": 1}
    assert labels(result, "train") == {
        "train/dog/1.jpg": "dog",
        "train/cat/1.webp": "cat",
        "train/cat/deep/2.PNG": "cat",
    }
    assert labels(result, "validation") == {"val/dog/3.gif": "dog"}
    assert "Left alone 1 files that are no images by their names: 1 .txt" in caplog.text


def test_hashed_split_of_class_folders(fill):
    folder = fill(*(f"{name}/{number}.png" for name in "ab" for number in range(20)))
    result = build(folder, validation_fraction=0.25, test_fraction=0.25)
    found = {split: labels(result, split) for split in result.num_records}
    assert found.keys() == {"train", "validation", "test"}
    assert sum(map(len, found.values())) == 40
    for split in found.values():
        assert all(name == record_id[0] for record_id, name in split.items())
    # Classes are mixed, not one after the other.
    order = list(found["train"].values())
    assert order != sorted(order)


def test_a_bad_image_is_named_or_skipped(fill):
    folder = fill("a/1.png", "b/2.png")
    (folder / "b" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n rubbish")
    with pytest.raises(ValueError, match=r"^b/2\.png: .*cannot be decoded"):
        build(folder, test_fraction=0.0, validation_fraction=0.0)
    result = build(
        folder,
        options=BuildOptions(skip_bad=True),
        test_fraction=0.0,
        validation_fraction=0.0,
    )
    assert result.num_records == {"train": 1}
    assert '"b/2.png"' in (result.directory / "skipped.jsonl").read_text()


def test_a_link_back_to_the_top_does_not_hang(fill):
    folder = fill("a/1.png")
    (folder / "a" / "up").symlink_to(folder, target_is_directory=True)
    result = build(folder, test_fraction=0.0, validation_fraction=0.0)
    assert result.num_records == {"train": 1}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1.png"], r"folder of its class. Received: 1\.png .*move it to CLASS/1\.png"),
        (["train/1.png"], r"Received: train/1\.png .*train/CLASS/1\.png"),
        (
            ["train/a/1.png", "cat/1.png"],
            r"all splits or all classes.*train beside cat",
        ),
        (["a/notes.txt"], r"which holds none"),
    ],
)
def test_wrong_layout(fill, names, message):
    with pytest.raises(ValueError, match=message):
        build(fill(*names))


def test_missing_folder(tmp_path):
    with pytest.raises(ValueError, match="which does not exist"):
        build(tmp_path / "in")
