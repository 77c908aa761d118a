import collections
import json

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image, ImageColor

from tfrecords_tools import build_easy_vqa_captions
from tfrecords_tools.bad_rows import BadRows
from tfrecords_tools.sources.easy_vqa import read_easy_vqa
from tfrecords_tools.sources.easy_vqa_captions import COLORS, facts, told_of_images


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        ("what color is the triangle?", "blue", {"triangle", "blue"}),
        ("what is the blue shape?", "circle", {"circle", "blue"}),
        ("does the image contain a rectangle?", "yes", {"rectangle"}),
        ("is there a triangle in the image?", "no", set()),
        ("is there not a blue shape?", "no", {"blue"}),
        ("does the image not contain a gray shape?", "yes", set()),
        ("is no teal shape present?", "yes", set()),
        ("is no teal shape present?", "no", {"teal"}),
    ],
)
def test_what_a_question_tells(question, answer, expected):
    assert facts(question, answer) == expected


def test_captions_of_pictures_that_are_known(tmp_path, encoded_image):
    for split in ("train", "test"):
        (tmp_path / split / "images").mkdir(parents=True)
        for number in range(3):
            path = tmp_path / split / f"images/{number}.png"
            path.write_bytes(encoded_image(number))
        rows = [
            ["what color is the shape?", "red", 0],
            ["is there a circle?", "yes", 0],
            ["what color is the triangle?", "teal", 1],
            # Of this picture nobody knows the shape.
            ["what color is the shape?", "teal", 2],
        ]
        (tmp_path / split / "questions.json").write_text(json.dumps(rows))
    result = build_easy_vqa_captions(
        output_dir=tmp_path / "data", source_dir=tmp_path, validation_fraction=0.0
    )
    assert result.num_records == {"train": 2, "test": 2}
    records = tfds.as_numpy(
        tfds.builder_from_directory(result.directory).as_dataset("test")
    )
    assert {r["id"]: list(r["captions"]) for r in records} == {
        b"test-0": [b"a red circle"],
        b"test-1": [b"a teal triangle"],
    }
    labelled = build_easy_vqa_captions(
        output_dir=tmp_path / "labelled",
        source_dir=tmp_path,
        validation_fraction=0.0,
        labelled=True,
    )
    builder = tfds.builder_from_directory(labelled.directory)
    label = builder.info.features["label"]
    assert label.num_classes == 24
    named = {
        record["id"]: label.int2str(record["label"])
        for record in tfds.as_numpy(builder.as_dataset("test"))
    }
    assert named == {b"test-0": "red circle", b"test-1": "teal triangle"}


def test_colours_are_those_of_the_pixels_of_the_package():
    pixels = {name: ImageColor.getrgb(name) for name in COLORS}
    pixels["green"] = ImageColor.getrgb("lime")
    told = list(told_of_images(read_easy_vqa(None, BadRows(False))))
    by_split = collections.Counter(first.split for first, _, _ in told)
    # Training pictures have no split yet: some go to validation.
    assert by_split == {None: 3542, "test": 880}
    for first, color, _ in told[::10]:
        picture = np.asarray(Image.open(first.image).convert("RGB"))
        assert (picture == pixels[color]).all(axis=-1).any(), first.values["image_id"]
