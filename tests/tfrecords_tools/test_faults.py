"""What a build does with texts, names and files that are out of the ordinary."""

import json
import os

import pytest
import tensorflow_datasets as tfds

from tfrecords_tools import (
    BuildOptions,
    build_image_folder,
    build_manifest,
    image_loading,
)


def build(folder, rows, **options):
    manifest = folder / "pairs.jsonl"
    manifest.write_text("\n".join(rows))
    return build_manifest(
        manifest=manifest,
        output_dir=folder / "data",
        name="pairs",
        image_column="image",
        caption_column="caption",
        validation_fraction=0.0,
        test_fraction=0.0,
        options=BuildOptions(**options),
    )


def row(image, caption):
    return json.dumps({"image": image, "caption": caption})


def read(result):
    builder = tfds.builder_from_directory(str(result.directory))
    decoders = {"image": tfds.decode.SkipDecoding()}
    found = tfds.as_numpy(builder.as_dataset("train", decoders=decoders))
    return {record["id"].decode(): record for record in found}


def test_texts_and_names_out_of_the_ordinary(tmp_path, encoded_image):
    texts = {
        "größe/猫 1.png": "猫がいる \U0001f408",
        "a/b/c.png": "with\0NUL",
        "long.png": "x" * 1_000_000,
        "%2e%2e.png": "  line\nbreaks\tand\r\nmore ",
        "-".ljust(200, "n") + ".png": "\u202eright to left",
    }
    for number, name in enumerate(texts):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(encoded_image(number))
    found = read(build(tmp_path, [row(*pair) for pair in texts.items()]))
    assert found.keys() == texts.keys()
    for number, (name, text) in enumerate(texts.items()):
        assert found[name]["captions"].tolist() == [text.strip().encode()]
        assert found[name]["image"] == encoded_image(number)


def test_half_a_character(tmp_path, encoded_image):
    (tmp_path / "a.png").write_bytes(encoded_image(0))
    rows = [row("a.png", "good"), '{"image": "a.png", "caption": "\\ud83d"}']
    with pytest.raises(ValueError, match=r"line 2: .*'caption' holds no valid Unicode"):
        build(tmp_path, rows)
    result = build(tmp_path, rows, skip_bad=True)
    assert result.num_skipped == 1
    assert read(result)["a.png"]["captions"].tolist() == [b"good"]


def test_a_file_name_that_is_no_text(tmp_path, encoded_image):
    folder = tmp_path / "in" / "cat"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(encoded_image(0))
    bad = os.fsencode(folder) + b"/caf\xe9.png"
    with open(bad, "wb") as file:
        file.write(encoded_image(1))
    arguments = {"folder": tmp_path / "in", "output_dir": tmp_path, "name": "cats"}
    arguments |= {"validation_fraction": 0.0, "test_fraction": 0.0}
    with pytest.raises(ValueError, match=r"cannot be encoded.*surrogates.*--skip_bad"):
        build_image_folder(**arguments)
    result = build_image_folder(**arguments, options=BuildOptions(skip_bad=True))
    assert read(result).keys() == {"cat/a.png"}
    assert result.skipped == {"bad": 1}


def test_a_file_that_vanishes_during_the_build(tmp_path, encoded_image, monkeypatch):
    monkeypatch.setattr(image_loading, "_IMAGES_AHEAD", 1)
    names = [f"{number}.png" for number in range(8)]

    def build_and_delete(**options):
        for number, name in enumerate(names):
            (tmp_path / name).write_bytes(encoded_image(number))

        def delete(record):
            for name in names:
                if name != record["id"]:
                    (tmp_path / name).unlink(missing_ok=True)
            return True

        rows = [row(name, "caption") for name in names]
        return build(tmp_path, rows, filter=delete, num_workers=1, **options)

    with pytest.raises(ValueError, match=r"line \d: The image .*does not exist"):
        build_and_delete()
    assert not (tmp_path / "data" / "pairs").exists()
    result = build_and_delete(skip_bad=True)
    assert 1 <= result.num_records["train"] <= 3
    assert result.skipped["bad"] == 8 - result.num_records["train"]
    lines = (result.directory / "skipped.jsonl").read_text().splitlines()
    assert len(lines) == result.num_skipped


def test_an_image_that_no_training_can_read_is_a_row_to_skip(tmp_path, encoded_image):
    files = {
        "good.png": encoded_image(0),
        "empty.png": b"",
        "drawing.png": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "cut.jpg": encoded_image(0, "JPEG")[:-100],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    rows = [row(name, "a caption") for name in files]
    for options in ({}, {"max_side": 4}, {"reencode": "webp"}, {"min_side": 2}):
        result = build(tmp_path, rows, skip_bad=True, overwrite=True, **options)
        assert read(result).keys() == {"good.png"}, options
        assert result.skipped == {"bad": 3}
