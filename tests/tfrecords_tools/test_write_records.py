import json

import pytest
import tensorflow_datasets as tfds

from tfrecords_tools import BuildOptions, build_manifest


@pytest.fixture
def build(tmp_path):
    """Function that builds rows of image and caption, all for training."""

    def build(rows, name="pairs", **options):
        manifest = tmp_path / "pairs.jsonl"
        lines = [{"image": image, "caption": caption} for image, caption in rows]
        manifest.write_text("\n".join(map(json.dumps, lines)))
        return build_manifest(
            manifest=manifest,
            output_dir=tmp_path / "data",
            name=name,
            image_column="image",
            caption_column="caption",
            validation_fraction=0.0,
            test_fraction=0.0,
            options=BuildOptions(**options),
        )

    return build


@pytest.fixture
def pictures(tmp_path, encoded_image):
    """Forty pairs of a picture and a caption."""
    for number in range(40):
        (tmp_path / f"{number}.png").write_bytes(encoded_image(number))
    return [(f"{number}.png", f"caption {number}") for number in range(40)]


def content(result):
    """The files by name, without the name of the dataset."""
    prefix = result.directory.parent.name
    return {
        path.name.removeprefix(prefix): path.read_bytes()
        for path in result.directory.iterdir()
        if "tfrecord" in path.name
    }


def test_bytes_do_not_depend_on_the_number_of_workers(build, pictures):
    one = content(build(pictures, "one", num_workers=1))
    assert one == content(build(pictures, "many", num_workers=7))


def test_shards_by_size(build, pictures):
    result = build(pictures, shard_megabytes=0.001)
    split = tfds.builder_from_directory(str(result.directory)).info.splits["train"]
    assert split.num_shards == -(-split.num_bytes // 1000) > 3


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_shards": 0}, "num_shards must be 1 or more. Received: num_shards=0"),
        ({"num_workers": 0}, "num_workers must be 1 or more"),
        ({"shard_megabytes": 0.0}, "shard_megabytes must be 0.001 or more"),
        ({"num_shards": 2, "shard_megabytes": 1.0}, "give one of them"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        BuildOptions(**options)
