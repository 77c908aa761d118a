import io

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

from kmmft.data import schema
from tfrecords_tools import BuildOptions, build_open_clip_art
from tfrecords_tools.sources import open_clip_art
from tfrecords_tools.sources.open_clip_art_captions import (
    Drawing,
    clean_tags,
    clean_title,
    read_drawing,
    series_of,
)

SVG = """<svg xmlns="http://www.w3.org/2000/svg"><metadata>
<rdf:RDF xmlns:cc="http://web.resource.org/cc/"
 xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><cc:Work rdf:about="">
<dc:title>{title}</dc:title><dc:subject><rdf:Bag>{tags}</rdf:Bag></dc:subject>
<dc:creator><cc:Agent><dc:title>{creator}</dc:title></cc:Agent></dc:creator>
<dc:language>{language}</dc:language></cc:Work></rdf:RDF></metadata></svg>"""


def blobs(seed: int, mode: str = "RGB", size: int = 40) -> PIL.Image.Image:
    random = np.random.default_rng(seed)
    coarse = random.uniform(0, 255, (6, 6, 3)).astype(np.uint8)
    image = PIL.Image.fromarray(coarse).resize((size, size), PIL.Image.Resampling.BOX)
    return image.convert(mode)


def add(root, name, image, title, tags=("thing",), creator="Ann", language="en"):
    for folder in ("png", "svg"):
        (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
    image.save(root / "png" / f"{name}.png")
    items = "".join(f"<rdf:li>{tag}</rdf:li>" for tag in tags)
    (root / "svg" / f"{name}.svg").write_text(
        SVG.format(title=title, tags=items, creator=creator, language=language)
    )


def read(directory):
    builder = tfds.builder_from_directory(directory)
    found = {}
    for split in builder.info.splits:
        dataset = builder.as_dataset(
            split, decoders={"image": tfds.decode.SkipDecoding()}
        )
        for record in tfds.as_numpy(dataset):
            found[record["id"].decode()] = {**record, "split": split}
    return found


def captions(record):
    return [caption.decode() for caption in record["captions"]]


def test_what_is_kept_and_what_it_says(tmp_path):
    source = tmp_path / "source"
    add(source, "animals/owl", blobs(0), "Clipart by A. B. - Owl_on-branch01.png")
    add(source, "animals/cat", blobs(1), "Tom &amp;amp; cat", ["", "hash", "unsorted"])
    add(source, "animals/gatto", blobs(2), "Gatto", creator="Francesco Rollandin")
    add(source, "animals/chat", blobs(3), "Chat noir", language="fr-FR")
    add(source, "animals/perro", blobs(4), "Perro de Madrid")
    add(source, "animals/leon", blobs(5), "Le\u00f3n")
    add(source, "animals/empty", blobs(6), "")
    for number in range(3):
        add(source, f"icons/{number}", blobs(7 + number), f"Icon {number}")
    (source / "png/animals/link.png").symlink_to("owl.png")
    result = build_open_clip_art(output_dir=tmp_path, source_dir=str(source))
    features = tfds.builder_from_directory(result.directory).info.features
    assert repr(features) == repr(schema.image_text())
    records = read(result.directory)
    assert {name: captions(record) for name, record in records.items()} == {
        "animals/owl.png": ["Owl on-branch", "Owl on-branch: thing"],
        "animals/cat.png": ["Tom & cat"],
    }


def test_pictures_are_small_and_on_white(tmp_path):
    source = tmp_path / "source"
    clear = PIL.Image.new("RGBA", (64, 32), (255, 0, 0, 0))
    clear.paste((0, 0, 255, 255), (0, 0, 32, 32))
    add(source, "clear", clear, "Left is blue")
    add(source, "grey", blobs(1, "LA"), "Grey one")
    palette = blobs(2, "P")
    palette.info["transparency"] = 0
    add(source, "palette", palette, "Palette one")
    result = build_open_clip_art(
        output_dir=tmp_path, source_dir=str(source), image_size=16
    )
    records = read(result.directory)
    assert len(records) == 3
    for record in records.values():
        picture = PIL.Image.open(io.BytesIO(record["image"]))
        assert picture.mode == "RGB" and max(picture.size) == 16
    pixels = np.asarray(PIL.Image.open(io.BytesIO(records["clear.png"]["image"])))
    assert pixels.shape == (8, 16, 3)
    np.testing.assert_array_equal(pixels[4, 2], (0, 0, 255))
    np.testing.assert_array_equal(pixels[4, 13], (255, 255, 255))


def test_near_duplicates_and_series_share_a_split(tmp_path):
    source = tmp_path / "source"
    for number in range(12):
        image = blobs(number)
        tinted = PIL.Image.blend(image, PIL.Image.new("RGB", image.size, "red"), 0.15)
        add(source, f"a/{number}", image, f"First {chr(97 + number)}x")
        add(source, f"b/{number}", tinted, f"Second {chr(97 + number)}x")
        add(
            source,
            f"c/{number}",
            blobs(100 + number),
            f"second {chr(97 + number)}x (B and W)",
        )
    result = build_open_clip_art(
        output_dir=tmp_path,
        source_dir=str(source),
        validation_fraction=0.3,
        test_fraction=0.3,
    )
    split = {name: record["split"] for name, record in read(result.directory).items()}
    assert len(split) == 36 and set(split.values()) == {"train", "validation", "test"}
    for number in range(12):
        assert len({split[f"{folder}/{number}.png"] for folder in "abc"}) == 1


def test_same_bytes_twice(tmp_path):
    source = tmp_path / "source"
    for number in range(6):
        add(source, f"{number}", blobs(number), f"Blob {chr(97 + number)}x")
    first, second = (
        build_open_clip_art(
            output_dir=tmp_path / name, source_dir=str(source)
        ).directory
        for name in "ab"
    )
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name


def test_huge_pictures_are_not_decoded(tmp_path, monkeypatch):
    source = tmp_path / "source"
    add(source, "small", blobs(0, size=20), "Small one")
    add(source, "huge", blobs(1, size=40), "Huge one")
    # Cut short after its header: decoding it would fail.
    huge = source / "png/huge.png"
    huge.write_bytes(huge.read_bytes()[:60])
    monkeypatch.setattr(open_clip_art, "MAX_PIXELS", 1000)
    result = build_open_clip_art(output_dir=tmp_path, source_dir=str(source))
    assert list(read(result.directory)) == ["small.png"]


def test_bad_files_are_named_or_skipped(tmp_path):
    source = tmp_path / "source"
    for number in range(4):
        add(source, f"{number}", blobs(number), f"Blob {chr(97 + number)}x")
    picture = source / "png/1.png"
    picture.write_bytes(picture.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"1\.png: The picture '1\.png' cannot be"):
        build_open_clip_art(output_dir=tmp_path, source_dir=str(source))
    (source / "svg/2.svg").write_text("<svg")
    with pytest.raises(ValueError, match=r"2\.svg' cannot be read"):
        build_open_clip_art(output_dir=tmp_path, source_dir=str(source))
    (source / "svg/3.svg").write_text("<svg/>")
    result = build_open_clip_art(
        output_dir=tmp_path, source_dir=str(source), options=BuildOptions(skip_bad=True)
    )
    assert result.num_skipped == 3 and list(read(result.directory)) == ["0.png"]
    skipped = (result.directory / "skipped.jsonl").read_text()
    assert "no metadata" in skipped and "1.png" in skipped and "2.svg" in skipped


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="apt-get install openclipart-png openclip"):
        build_open_clip_art(output_dir=tmp_path, source_dir=str(tmp_path))
    with pytest.raises(ValueError, match="test_fraction=1"):
        build_open_clip_art(output_dir=tmp_path, test_fraction=1)
    with pytest.raises(ValueError, match="image_size=0"):
        build_open_clip_art(output_dir=tmp_path, image_size=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("raw", "title"),
    [
        ("Croissant (B &amp;amp; W)", "Croissant (B & W)"),
        ("Baden-W&amp;uuml;rttemberg", "Baden-W\u00fcrttemberg"),
        ("shopping_cart.svg", "shopping cart"),
        ("PointingHand2", "Pointing Hand"),
        ("AK47", "AK47"),
        ("Earth (2)", "Earth (2)"),
        ("c...", ""),
        ("0815", ""),
        ("  ", ""),
    ],
)
def test_titles(raw, title):
    assert clean_title(raw) == title


@pytest.mark.parametrize(
    ("title", "series"),
    [
        ("Ice Cream Cone (2 Scoop) (B and W)", "ice cream cone"),
        ("dots square grid 12 pattern", "dots square grid pattern"),
        ("Bus2 BW", "bus"),
        ("Baby-Tux", "baby tux"),
        ("(12)", "(12)"),
        ("France - Corsica", "france corsica"),
    ],
)
def test_series(title, series):
    assert series_of(title) == series


def test_tags():
    tags = ["", "0x935a874", "HASH(0x1f)", "a_b", "A b", "&amp;eacute;toile", "Ann"]
    assert clean_tags(tags, besides=["ann"]) == ("a b",)
    assert Drawing("T", ("a", "b"), True).captions() == ["T", "T: a, b"]


def test_missing_svg(tmp_path):
    with pytest.raises(ValueError, match=r"nothing\.svg' cannot be read"):
        read_drawing(tmp_path / "nothing.svg")
