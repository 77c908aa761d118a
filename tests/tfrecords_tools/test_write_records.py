import io
import json
import re

import numpy as np
import PIL.Image
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


@pytest.mark.parametrize(
    "options, message",
    [
        ({"max_side": 0}, "max_side must be 1 or more"),
        (
            {"jpeg_quality": 96},
            "jpeg_quality must be 1 to 95. Received",
        ),
        ({"max_aspect_ratio": 0.5}, "max_aspect_ratio must be 1 or more"),
        ({"min_words": 5, "max_words": 4}, "min_words=5, max_words=4"),
    ],
)
def test_bad_filters(options, message):
    with pytest.raises(ValueError, match=message):
        BuildOptions(**options)


def read(result, split="train"):
    builder = tfds.builder_from_directory(str(result.directory))
    decoders = {"image": tfds.decode.SkipDecoding()}
    found = tfds.as_numpy(builder.as_dataset(split, decoders=decoders))
    return {record["id"].decode(): record for record in found}


def test_filters_are_counted_and_listed(build, pictures, tmp_path):
    for number, size in ((0, (2, 9)), (1, (90, 9))):
        PIL.Image.new("L", size).save(tmp_path / f"{number}.png")
    pictures[2] = ("2.png", "short")
    pictures[3] = ("3.png", "caption 4")
    (tmp_path / "5.png").unlink()
    seen = []

    def keep(record):
        seen.append(record["id"])
        assert record["image"][:4] == b"\x89PNG"
        return record["id"] != "6.png"

    result = build(
        pictures,
        min_side=4,
        max_aspect_ratio=5,
        min_words=2,
        drop_duplicate_captions=True,
        filter=keep,
        skip_bad=True,
    )
    assert result.skipped == {
        "bad": 1,
        "min_words": 1,
        "drop_duplicate_captions": 1,
        "min_side": 1,
        "max_aspect_ratio": 1,
        "filter": 1,
    }
    assert result.num_skipped == 6 and result.num_records == {"train": 34}
    assert "6 rows skipped (bad 1, min_words 1," in str(result)
    lines = (result.directory / "skipped.jsonl").read_text().splitlines()
    skipped = {(row["line"], row.get("filter")) for row in map(json.loads, lines)}
    repeated = ({(4, "drop_duplicate_captions")}, {(5, "drop_duplicate_captions")})
    others = skipped - repeated[0] - repeated[1]
    assert len(skipped) == 6
    assert others == {
        (1, "min_side"),
        (2, "max_aspect_ratio"),
        (3, "min_words"),
        (6, None),
        (7, "filter"),
    }
    assert len(seen) == 35 and "6.png" not in read(result)


def test_a_filter_that_fails_is_named(build, pictures):
    with pytest.raises(ValueError, match=r"'\d+\.png', at which it raised KeyError"):
        build(pictures, filter=lambda record: record["nsfw"])


def test_images_are_changed_on_the_way(build, pictures, tmp_path):
    PIL.Image.new("RGB", (400, 300), "red").save(tmp_path / "0.png")
    original = (tmp_path / "1.png").read_bytes()
    found = read(build(pictures, max_side=100))
    image = PIL.Image.open(io.BytesIO(found["0.png"]["image"]))
    assert (image.format, image.size) == ("PNG", (100, 75))
    assert found["1.png"]["image"] == original
    kinds = {}
    for workers in (1, 5):
        result = build(
            pictures, f"w{workers}", reencode="webp", max_side=100, num_workers=workers
        )
        kinds[workers] = content(result)
    assert kinds[1] == kinds[5]
    assert all(one["image"][8:12] == b"WEBP" for one in read(result).values())


def test_options_that_fit_no_record(tmp_path):
    manifest = tmp_path / "rows.csv"
    manifest.write_text("text,label\na,b\n")
    arguments = {"manifest": manifest, "output_dir": tmp_path, "name": "rows"}
    arguments |= {"text_column": "text", "label_column": "label"}
    for options, message in (
        ({"max_side": 9}, "are for records with an image. Received: .*'label'"),
        ({"group_near_duplicates": True}, "are for records with an image"),
        ({"drop_duplicate_captions": True}, "is for records with captions"),
    ):
        with pytest.raises(ValueError, match=message):
            build_manifest(options=BuildOptions(**options), **arguments)


def test_dry_run_writes_nothing(build, pictures, tmp_path):
    (tmp_path / "5.png").unlink()
    pictures[2] = ("2.png", "short")
    before = sorted(tmp_path.rglob("*"))
    plan = build(pictures, min_words=2, dry_run=True)
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "pairs.jsonl"])
    assert plan.num_records == {"train": 39}
    assert plan.skipped == {"min_words": 1} and plan.num_missing == 1
    first, *sample = str(plan).splitlines()
    assert "(dry run, nothing is written): train 39 records, 1 rows" in first
    assert len(sample) == 3
    assert re.match(r'  train: \{"id": "\d+\.png", "captions": \["caption', sample[0])


SPLITS = ("train", "validation", "test")


def blobs(seed):
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    image = PIL.Image.fromarray(coarse)
    return image.resize((240, 240), PIL.Image.Resampling.BICUBIC)


@pytest.fixture
def twins(tmp_path):
    """Twelve pictures, each twice: as PNG, and darker, smaller, as JPEG."""
    names = []
    for number in range(12):
        blobs(number).save(tmp_path / f"{number}.png")
        darker = blobs(number).point(lambda value: int(0.8 * value)).resize((180, 180))
        darker.save(tmp_path / f"x{number}.jpg")
        names.append((f"{number}.png", f"x{number}.jpg"))
    return names


def build_twins(folder, rows, columns, name="pairs", **options):
    manifest = folder / "twins.csv"
    manifest.write_text("image,label,split\n" + "".join(f"{row}\n" for row in rows))
    return build_manifest(
        manifest=manifest,
        output_dir=folder / "data",
        name=name,
        image_column="image",
        label_column="label",
        id_column="image",
        validation_fraction=0.3,
        test_fraction=0.3,
        options=BuildOptions(group_near_duplicates=True, **options),
        **columns,
    )


def test_near_duplicates_share_a_split(twins, tmp_path):
    rows = [f"{name},a,train" for pair in twins for name in pair]
    result = build_twins(tmp_path, rows, {})
    split_of = {one: split for split in SPLITS for one in read(result, split)}
    assert len(split_of) == 24 and len(set(split_of.values())) == 3
    assert all(split_of[one] == split_of[other] for one, other in twins)
    again = build_twins(tmp_path, rows[::-1], {}, "again", num_workers=1)
    assert again.num_records == result.num_records


def test_near_duplicates_of_named_splits_are_not_trained_on(twins, tmp_path):
    rows = []
    for number, (one, other) in enumerate(twins):
        rows.append(f"{one},a,{'test' if number < 4 else 'train'}")
        rows.append(f"{other},a,{'val' if number % 2 else 'train'}")
    result = build_twins(tmp_path, rows, {"split_column": "split"})
    # Of 4 groups with a test picture the others go; of 4 more with one for validation.
    assert result.skipped == {"group_near_duplicates": 8}
    assert result.num_records == {"train": 8, "validation": 4, "test": 4}
    text = (result.directory / "skipped.jsonl").read_text()
    assert "It is for train, but looks like '0.png' of test." in text
