import re

import numpy as np
import PIL.Image
import pytest

from kmmft.data import first_records
from tfrecords_tools import BuildOptions, build_conll, verify_data

TEXT = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O

Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER
"""


def build(folder, text=TEXT, split="train=", **options):
    path = folder / "eng.txt"
    path.write_text(text)
    return build_conll(
        files=[f"{split}{path}"],
        output_dir=folder,
        name="conll",
        validation_fraction=0.0,
        test_fraction=0.0,
        **options,
    )


def read(result, split="train"):
    records = first_records(result.directory, split, 9)
    return {
        tuple(word.decode() for word in record["words"]): [
            int(tag) for tag in record["tags"]
        ]
        for record in records
    }


def test_sentences(tmp_path):
    result = build(tmp_path, split="dev=")
    assert read(result, "validation") == {("EU", "rejects"): [1, 0], PETER: [2, 3]}


PETER = ("Peter", "Blackburn")


def test_any_tags_of_numbered_words_with_comments(tmp_path):
    text = "# text = vámonos\n1-2\tvámonos\t_\t_\n1\tvamos\tX\tVERB\n2\tnos\tX\tPRON\n"
    result = build(
        tmp_path, text, word_column=1, tag_column=3, scheme="any", comments=True
    )
    assert read(result) == {("vamos", "nos"): [1, 0]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("lonely", r"eng\.txt line 9: 'lonely' has no word in column 0 or no tag"),
        ("word NN", r"eng\.txt line 9: 'NN' is no tag of an entity"),
        ("two words\tO", "The word 'two words' holds white space"),
    ],
)
def test_bad_lines(tmp_path, line, message):
    text = f"{TEXT}\n{line}\ngood O\n\nright O\n"
    with pytest.raises(ValueError, match=message):
        build(tmp_path, text)
    result = build(tmp_path, text, options=BuildOptions(skip_bad=True))
    assert set(read(result)) == {("EU", "rejects"), PETER, ("right",)}


def test_bad_files(tmp_path):
    with pytest.raises(ValueError, match="SPLIT=FILE or FILE"):
        build_conll(files=["train=none.txt"], output_dir=tmp_path, name="x")
    build(tmp_path)
    file = tmp_path / "eng.txt"
    with pytest.raises(ValueError, match=r"once, .*train=.* and test="):
        build_conll(
            files=[f"train={file}", f"test={file}"], output_dir=tmp_path, name="x"
        )
    with pytest.raises(ValueError, match="There must be tagged words"):
        build(tmp_path, "a O\n")
    with pytest.raises(ValueError, match="must stand in two columns"):
        build(tmp_path, word_column=1, tag_column=1)
    with pytest.raises(ValueError, match=r"line 1: 'B-X O' has .* column, 1 and -1;"):
        build(tmp_path, "B-X O\n", word_column=1)
    (tmp_path / "eng.txt").write_bytes(b"caf\xe9 O\n")
    with pytest.raises(ValueError, match=r"UTF-8. Received: .*eng\.txt"):
        build_conll(files=[str(tmp_path / "eng.txt")], output_dir=tmp_path, name="x")


TWEETS = """IMGID:7
Jordan B-PER
scores O

IMGID:8.png
Jordan B-LOC
"""


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name, value in {"7.jpg": 10, "8.png": 200}.items():
        PIL.Image.fromarray(np.full((5, 5, 3), value, "uint8")).save(folder / name)
    return folder


def test_sentences_with_images(tmp_path, images):
    result = build(tmp_path, TWEETS, image_folder=str(images))
    records = {r["id"]: r for r in first_records(result.directory, "train", 9)}
    assert set(records) == {"0-0000001", "0-0000005"}
    for name, file in {"0-0000001": "7.jpg", "0-0000005": "8.png"}.items():
        assert records[name]["image"] == (images / file).read_bytes()
    assert records["0-0000001"]["words"].tolist() == [b"Jordan", b"scores"]
    checked = verify_data(data=result.directory)
    assert checked.num_records == {"train": 2} and not checked.findings


def test_an_image_stays_in_one_split(tmp_path, images):
    text = "".join(f"IMGID:{7 + n % 2}\nword{n} B-X\n\n" for n in range(40))
    path = tmp_path / "eng.txt"
    path.write_text(text)
    result = build_conll(
        files=[str(path)],
        output_dir=tmp_path,
        name="conll",
        validation_fraction=0.5,
        test_fraction=0.0,
        image_folder=images,
    )
    assert set(result.num_records.values()) <= {20, 40}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("IMGID:9\nword O\n", r"line 8: The image '.*9\.jpg' does not exist"),
        ("IMGID:broken\nword O\n", r"line 8: The image '.*broken\.jpg' begins with"),
        ("word O\n", r"line 8: The sentence has no line such as IMGID:12345"),
        ("IMGID:7\n", "line 8: No sentence follows the line of the image"),
        ("IMGID:7\na O\nIMGID:8\n", "line 10: 'IMGID:8' must be the one line of an"),
        ("IMGID:7\nIMGID:8\na O\n", "line 9: 'IMGID:8' must be the one line of an"),
    ],
)
def test_bad_images(tmp_path, images, lines, message):
    (images / "broken.jpg").write_bytes(b"no image")
    text = f"{TWEETS}\n{lines}\nIMGID:7\nlast B-PER\n"
    with pytest.raises(ValueError, match=rf"eng\.txt {message}"):
        build(tmp_path, text, image_folder=images)
    skip = BuildOptions(skip_bad=True)
    result = build(tmp_path, text, image_folder=images, options=skip)
    assert set(read(result)) == {("Jordan", "scores"), ("Jordan",), ("last",)}
    skipped = (result.directory / "skipped.jsonl").read_text()
    assert re.search(message.split(": ")[1].replace("'", "."), skipped)


def test_images_without_their_folder(tmp_path):
    with pytest.raises(ValueError, match=r"line 1: 'IMGID:7' names an image; pass im"):
        build(tmp_path, TWEETS)
    with pytest.raises(ValueError, match="`image_folder` must be a folder"):
        build(tmp_path, TWEETS, image_folder=tmp_path / "none")
