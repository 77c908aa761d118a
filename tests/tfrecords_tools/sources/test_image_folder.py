import pytest
import tensorflow_datasets as tfds

from kmmft.data import schema
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
            r"all splits, or none of them.*train beside cat",
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


def texts(result, split="train"):
    builder = tfds.builder_from_directory(result.directory)
    decoders = {"image": tfds.decode.SkipDecoding()}
    records = tfds.as_numpy(builder.as_dataset(split, decoders=decoders))
    return {record["id"].decode(): record for record in records}


WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0}


def test_captions_of_side_cars(fill, caplog):
    folder = fill("a/1.jpg", "2.png")
    (folder / "a/1.txt").write_text("\ufeffErster\n\n Größer \n", encoding="utf-8")
    (folder / "2.txt").write_text("Second")
    (folder / "of_nothing.txt").write_text("Nobody's")
    result = build(folder, captions="sidecar", **WHOLE)
    builder = tfds.builder_from_directory(result.directory)
    assert repr(builder.info.features) == repr(schema.image_text())
    found = {key: list(one["captions"]) for key, one in texts(result).items()}
    assert found == {
        "a/1.jpg": [b"Erster", "Größer".encode()],
        "2.png": [b"Second"],
    }
    assert caplog.text == ""


def test_captions_in_paths_with_classes_and_splits(fill):
    folder = fill("train/red cars/old_car-01.jpg", "train/boats/007.png")
    result = build(folder, captions="path", classes=True)
    assert labels(result, "train").keys() == texts(result).keys()
    assert {key: one["text"] for key, one in texts(result).items()} == {
        "train/red cars/old_car-01.jpg": b"old car",
        "train/boats/007.png": b"boats",
    }
    assert set(labels(result, "train").values()) == {"red cars", "boats"}
    result = build(folder, captions="path", options=BuildOptions(overwrite=True))
    assert result.num_records == {"train": 2}
    assert "label" not in texts(result)["train/boats/007.png"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"^2\.png: There is no '2\.txt' beside it"),
        (b" \n", r"^2\.png: '2\.txt' beside it is empty"),
        (b"caf\xe9", r"^2\.png: '2\.txt' beside it is not valid UTF-8"),
    ],
)
def test_bad_side_cars_are_named_or_skipped(fill, content, message):
    folder = fill("1.jpg", "2.png")
    (folder / "1.txt").write_text("First")
    if content is not None:
        (folder / "2.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        build(folder, captions="sidecar", **WHOLE)
    skip = BuildOptions(skip_bad=True)
    result = build(folder, captions="sidecar", options=skip, **WHOLE)
    assert texts(result).keys() == {"1.jpg"} and result.num_skipped == 1


def test_neither_captions_nor_words_nor_classes(fill):
    with pytest.raises(ValueError, match="captions='none', classes=False"):
        build(fill("a/1.jpg"), classes=False)
    with pytest.raises(ValueError, match=r"^1/1\.jpg: There are no words in its name"):
        build(fill("1/1.jpg"), captions="path")
