import json

import pytest
import tensorflow_datasets as tfds

from kmmft.data import schema
from tfrecords_tools import BuildOptions, build_manifest


@pytest.fixture
def folder(tmp_path, encoded_image):
    """A folder with three pictures, and files that are none."""
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(encoded_image(number))
    (tmp_path / "cut.png").write_bytes(encoded_image(0)[:-30])
    (tmp_path / "cut.jpg").write_bytes(encoded_image(0, "JPEG")[:-100])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "page.jpg").write_bytes(b"<html>404</html>")
    (tmp_path / "scan.tif").write_bytes(encoded_image(0, "TIFF"))
    frames = {"save_all": True, "append_images": [_other_frame()]}
    (tmp_path / "moving.webp").write_bytes(encoded_image(0, "WEBP", **frames))
    (tmp_path / "album.png").mkdir()
    return tmp_path


def _other_frame():
    import PIL.Image

    return PIL.Image.new("RGB", (8, 6), "red")


CAPTIONS = {"image_column": "image", "caption_column": "caption"}


def build(folder, text, ending="csv", **options):
    manifest = folder / f"pairs.{ending}"
    manifest.write_bytes(text if isinstance(text, bytes) else text.encode())
    defaults = {"validation_fraction": 0.0, "test_fraction": 0.0}
    return build_manifest(
        manifest=manifest,
        output_dir=folder / "out",
        name="pairs",
        **(defaults | options),
    )


def read(result, split="train"):
    builder = tfds.builder_from_directory(result.directory)
    decoders = {"image": tfds.decode.SkipDecoding()}
    if "image" not in builder.info.features:
        decoders = None
    records = tfds.as_numpy(builder.as_dataset(split, decoders=decoders))
    return {record["id"].decode(): record for record in records}


def test_captions_of_one_image_make_one_record(folder):
    rows = [
        {"image": "0.png", "caption": "first", "split": "train"},
        {"image": "1.png", "caption": ["one", " two "], "split": "train"},
        {"image": "./0.png", "caption": "second, größer", "split": "train"},
        {"image": str(folder / "2.png"), "caption": "held out", "split": "val"},
    ]
    text = "\n\n".join(json.dumps(row) for row in rows)
    result = build(folder, text, "jsonl", split_column="split", **CAPTIONS)
    assert result.num_records == {"train": 2, "validation": 1}
    assert result.directory == folder / "out" / "pairs" / "1.0.0"
    records = read(result)
    assert records.keys() == {"0.png", "1.png"}
    captions = [text.decode() for text in records["0.png"]["captions"]]
    assert captions == ["first", "second, größer"]
    assert records["1.png"]["captions"].tolist() == [b"one", b"two"]
    assert records["0.png"]["image"] == (folder / "0.png").read_bytes()
    assert read(result, "validation").keys() == {"2.png"}
    features = tfds.builder_from_directory(result.directory).info.features
    assert repr(features) == repr(schema.image_text())


def test_questions_from_csv_with_quotes_and_byte_order_mark(folder):
    text = (
        "image,question,answer,key\r\n"
        '0.png,"What is it, then?",cat,q1\r\n'
        '0.png,"Two\nlines ""quoted""",dog,q2\r\n'
        "1.png,Why?,7,q3\r\n"
    )
    result = build(
        folder,
        b"\xef\xbb\xbf" + text.encode(),
        image_column="image",
        question_column="question",
        answer_column="answer",
        id_column="key",
    )
    records = read(result)
    assert records["q1"]["question"] == b"What is it, then?"
    assert records["q2"]["question"] == b'Two\nlines "quoted"'
    assert records["q3"]["answer"] == b"7"
    assert records["q1"]["image_id"] == records["q2"]["image_id"] == b"0.png"


def test_labels_are_sorted_by_value_if_numbers(folder):
    text = 'review\tstars\nSaid "meh\t10\nGreat\t9\nFine "\t10\n'
    result = build(folder, text, "tsv", text_column="review", label_column="stars")
    features = tfds.builder_from_directory(result.directory).info.features
    assert features["label"].names == ["9", "10"]
    assert {(r["text"], r["label"]) for r in read(result).values()} == {
        (b'Said "meh', 1),
        (b"Great", 0),
        (b'Fine "', 1),
    }


def test_image_with_text_and_label(folder):
    text = "image,text,label\n0.png,hi,b\n0.png,ho,a\n"
    columns = {f"{name}_column": name for name in ("image", "text", "label")}
    records = read(build(folder, text, **columns))
    assert records["line-0000002"]["label"] == 1
    assert records["line-0000003"]["text"] == b"ho"


def test_pairs_of_texts_and_numbers(folder):
    rows = "a\tb\tn\nOne cat\tTwo cats\t-0.5\nA dog\tDogs\t3\n"
    pair = {"text_column": "a", "text_pair_column": "b"}
    result = build(folder, rows, "tsv", **pair, target_column="n")
    records = read(result)
    assert {record["text_pair"]: record["label"] for record in records.values()} == {
        b"Two cats": -0.5,
        b"Dogs": 3.0,
    }
    bad = "a\tn\nOne\t1e99\n"
    with pytest.raises(ValueError, match=r"line 2: .*'1e99', which is no finite"):
        build(folder, bad, "tsv", text_column="a", target_column="n")


def test_images_beside_rated_texts_and_pairs(folder):
    columns = {"image_column": "i", "text_column": "a", "text_pair_column": "b"}
    text = "i,a,b,n\n0.png,One cat,Two cats,-0.5\n1.png,A dog,Dogs,3\n"
    result = build(folder, text, **columns, target_column="n")
    records = read(result).values()
    assert {record["image"]: record["label"] for record in records} == {
        (folder / "0.png").read_bytes(): -0.5,
        (folder / "1.png").read_bytes(): 3.0,
    }
    options = {"options": BuildOptions(overwrite=True)}
    result = build(folder, text, **columns, label_column="n", **options)
    assert {record["text_pair"] for record in read(result).values()} == {
        b"Two cats",
        b"Dogs",
    }
    bad = text.replace("1.png", "9.png")
    with pytest.raises(ValueError, match=r"pairs\.csv line 3: The image .*not exist"):
        build(folder, bad, **columns, target_column="n", **options)


def test_hashed_splits_keep_images_together_and_are_stable(folder):
    rows = [
        {"question": f"q{number % 7}", "answer": "a", "image": f"x{number % 40}.png"}
        for number in range(200)
    ]
    for row in rows:
        (folder / row["image"]).write_bytes((folder / "0.png").read_bytes())
    columns = {f"{name}_column": name for name in ("image", "question", "answer")}
    text = "\n".join(map(json.dumps, rows))
    fractions = {"validation_fraction": 0.2, "test_fraction": 0.3}
    result = build(folder, text, "jsonl", **columns, **fractions)
    images = {
        split: {record["image_id"] for record in read(result, split).values()}
        for split in ("train", "validation", "test")
    }
    assert sum(map(len, images.values())) == 40  # So no image is in two splits.
    assert min(map(len, images.values())) > 2
    before = {path.name: path.read_bytes() for path in result.directory.iterdir()}
    again = build(
        folder,
        text,
        "jsonl",
        options=BuildOptions(overwrite=True),
        **columns,
        **fractions,
    )
    assert before == {p.name: p.read_bytes() for p in again.directory.iterdir()}
    # The order is not that of the manifest.
    ids = list(read(result))
    assert ids != sorted(ids)


BAD_ROWS = {
    "missing image": ("csv", "gone.png,hello", r"'.*gone\.png' does not exist"),
    "folder as image": ("csv", "album.png,hello", r"album\.png' cannot be read"),
    "empty image": ("csv", "empty.png,hello", r"empty\.png' has no bytes"),
    "cut png": ("csv", "cut.png,hello", r"cut\.png' cannot be decoded"),
    "cut jpeg": ("csv", "cut.jpg,hello", r"cut\.jpg' cannot be decoded"),
    "web page": ("csv", "page.jpg,hello", r"page\.jpg' is an HTML page, not JPEG"),
    "tiff": ("csv", "scan.tif,hello", r"scan\.tif' is a TIFF"),
    "animation": ("csv", "moving.webp,hello", r"animated WebP; save its first frame"),
    "nul in path": ("csv", "a\0.png,hello", r"is no path"),
    "empty caption": ("csv", "1.png,  ", r"column 'caption' is empty; fill it in"),
    "empty path": ("csv", ",hello", r"column 'image' is empty"),
    "too many": ("csv", "1.png,hello, you", r"3 fields, the header 2; quote fields"),
    "too few": ("tsv", "1.png", r"1 fields, the header 2; take tabs"),
    "stray quote": ("csv", '1.png,"a" b', r"cannot be read .*mend its quotes"),
    "open quote": ("csv", '1.png,"never closed', r"unexpected end of data"),
    "latin-1": ("csv", b"1.png,caf\xe9", r"not valid UTF-8; save the file as UTF-8"),
    "latin-1 in jsonl": ("jsonl", b'{"image": "\xe9"}', r"not valid UTF-8"),
    "broken json": ("jsonl", '{"image": "1.png",', r"not valid JSON .*mend it"),
    "no object": ("jsonl", "[1, 2]", r"must be a JSON object, not '\[1, 2\]'"),
    "twice in json": (
        "jsonl",
        '{"image": "1.png", "caption": "a", "caption": "b"}',
        r"not valid JSON \(the key 'caption' stands in an object 2 times\)",
    ),
    "not a number": (
        "jsonl",
        '{"image": "1.png", "caption": NaN}',
        r"'caption' holds nan, no text and no finite number",
    ),
    "deep json": ("jsonl", "[" * 100_000, r"not valid JSON"),
    "no such key": (
        "jsonl",
        '{"image": "1.png", "Captoin": "x"}',
        r"no column 'caption'; did you mean 'Captoin'\?",
    ),
    "null": ("jsonl", '{"image": "1.png", "caption": null}', r"'caption' is empty"),
    "no text": ("jsonl", '{"image": "1.png", "caption": {}}', r"holds a dict, not a"),
    "empty list": ("jsonl", '{"image": "1.png", "caption": []}', r"holds a list, not"),
    "empty in list": ("jsonl", '{"image": "1.png", "caption": ["a", ""]}', r"is empty"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_row_is_named_or_skipped(folder, case):
    ending, bad, reason = BAD_ROWS[case]
    bad = bad if isinstance(bad, bytes) else bad.encode()
    if ending == "jsonl":
        first, good = b"", b'{"image": "0.png", "caption": "good"}'
    else:
        delimiter = b"," if ending == "csv" else b"\t"
        first, good = b"image%bcaption" % delimiter, b"0.png%bgood" % delimiter
    # The bad row is the last, since an open quote takes in all that follows.
    text = b"\n".join([first, good, bad])
    with pytest.raises(ValueError, match=rf"pairs\.{ending} line 3: .*{reason}") as e:
        build(folder, text, ending, **CAPTIONS)
    assert "--skip_bad" in str(e.value)
    assert "\n" not in str(e.value)
    assert not (folder / "out" / "pairs").exists()
    result = build(
        folder, text, ending, options=BuildOptions(skip_bad=True), **CAPTIONS
    )
    assert result.num_records == {"train": 1}
    assert result.num_skipped == 1
    assert "1 rows skipped" in str(result)
    (line,) = (result.directory / "skipped.jsonl").read_text().splitlines()
    skipped = json.loads(line)
    assert (skipped["file"], skipped["line"]) == (f"pairs.{ending}", 3)
    assert read(result)["0.png"]["captions"].tolist() == [b"good"]


def test_rows_after_a_bad_one_are_read(folder, caplog):
    text = 'image,caption\n"0.png"x,a\n1.png,b\n2.png,"c\nd"\ngone.png,e\n'
    text += "2.png,f,g\n0.png,h\ngone.png,i\n"
    result = build(folder, text, options=BuildOptions(skip_bad=True), **CAPTIONS)
    assert read(result).keys() == {"0.png", "1.png", "2.png"}
    lines = (result.directory / "skipped.jsonl").read_text().splitlines()
    assert [json.loads(line)["line"] for line in lines] == [2, 7, 6, 9]
    assert "Skipped pairs.csv line 9: The image" in caplog.text


def test_unchecked_images_are_still_looked_at(folder):
    text = "image,caption\ncut.jpg,a\n"
    assert build(
        folder, text, options=BuildOptions(check_images=False), **CAPTIONS
    ).num_records
    with pytest.raises(ValueError, match="HTML page"):
        build(
            folder,
            "image,caption\npage.jpg,a\n",
            options=BuildOptions(check_images=False, overwrite=True),
            **CAPTIONS,
        )


@pytest.mark.parametrize(
    ("ending", "text", "message"),
    [
        ("csv", "", r"at least one row.*pairs\.csv"),
        ("csv", "image,caption\n\n\n", r"at least one row"),
        ("jsonl", "\n", r"at least one row"),
        (
            "csv",
            "Image,captions\n0.png,a\n",
            r"line 1: .*'image'; did you mean 'Image'",
        ),
        (
            "csv",
            "image,foo\n0.png,a\n",
            r"no column 'caption'; The columns are 'image'",
        ),
        ("csv", "image,caption,image\n0.png,a,b\n", r"'image' stands there 2 times"),
        ("xlsx", "image", r"must end in \.csv, \.tsv, \.jsonl"),
    ],
)
def test_bad_manifest(folder, ending, text, message):
    with pytest.raises(ValueError, match=message):
        build(folder, text, ending, **CAPTIONS)


@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_bad_header_is_never_skipped(folder, skip_bad):
    text = "image,caption\n0.png,a\n".encode("utf-16")
    with pytest.raises(ValueError, match=r"line 1: The line is not valid UTF-8"):
        build(folder, text, options=BuildOptions(skip_bad=skip_bad), **CAPTIONS)


def test_missing_manifest_and_no_good_row(folder):
    with pytest.raises(ValueError, match=r"no\.csv, which does not exist"):
        build_manifest(
            manifest=folder / "no.csv", output_dir=folder, name="x", **CAPTIONS
        )
    with pytest.raises(ValueError, match=r"2 rows, all bad, the first: pairs\.csv lin"):
        build(
            folder,
            "image,caption\n0.png,\n1.png,\n",
            options=BuildOptions(skip_bad=True),
            **CAPTIONS,
        )
    with pytest.raises(ValueError, match="at least one record"):
        build(
            folder,
            "image,caption\ngone.png,a\n",
            options=BuildOptions(skip_bad=True),
            **CAPTIONS,
        )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("0.png,a,train,x\n1.png,b,train,x", r"line 3: The id 'x' belongs to '0\.png'"),
        (
            "0.png,a,train,x\n0.png,b,test,x",
            r"split 'test' here and in 'train' on line",
        ),
        ("0.png,a,my split,x", r"'my split', which cannot name a split"),
        ("0.png,a,,x", r"'split' is empty"),
    ],
)
def test_bad_ids_and_splits_of_captions(folder, rows, message):
    columns = CAPTIONS | {"split_column": "split", "id_column": "id"}
    with pytest.raises(ValueError, match=message):
        build(folder, f"image,caption,split,id\n{rows}\n", **columns)


def test_ids_tell_records_of_one_picture_apart(folder):
    text = "image,caption,id\n0.png,a cup,x\n0.png,a mug,x\n0.png,a gift,y\n"
    halves = {"validation_fraction": 0.5}
    result = build(folder, text, **CAPTIONS, **halves, id_column="id")
    # What shows the same is not torn apart.
    ((split, count),) = result.num_records.items()
    found = {key: list(row["captions"]) for key, row in read(result, split).items()}
    assert found == {"x": [b"a cup", b"a mug"], "y": [b"a gift"]} and count == 2


def test_same_id_twice_and_image_in_two_splits(folder, caplog):
    text = "image,label,split,id\n0.png,a,train,x\n1.png,b,train,x\n0.png,b,test,y\n"
    names = ("image", "label", "split", "id")
    columns = {f"{name}_column": name for name in names}
    with pytest.raises(ValueError, match=r"line 3: The id 'x' is on line 2 too"):
        build(folder, text, **columns)
    result = build(folder, text, options=BuildOptions(skip_bad=True), **columns)
    assert result.num_records == {"train": 1, "test": 1}
    assert "1 images are in more than one split" in caplog.text


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"image_column": "image"},
        {"caption_column": "caption"},
        {"label_column": "caption"},
        {"image_column": "image", "question_column": "caption"},
        CAPTIONS | {"label_column": "caption"},
    ],
)
def test_columns_that_make_no_record(folder, columns):
    with pytest.raises(ValueError, match="columns must be image and caption; or"):
        build(folder, "image,caption\n0.png,a\n", **columns)


def test_bad_fractions(folder):
    with pytest.raises(ValueError, match="together less than 1"):
        build(folder, "", validation_fraction=0.5, test_fraction=0.5, **CAPTIONS)


def test_groups_stay_together(folder):
    rows = [(f"{number % 3}.png", f"p{number % 20}") for number in range(60)]
    text = "image,label,person\n"
    text += "".join(f"{image},a,{person}\n" for image, person in rows)
    columns = {"image_column": "image", "label_column": "label"}
    options = {"validation_fraction": 0.3, "test_fraction": 0.3}
    result = build(folder, text, group_column="person", **columns, **options)
    people = {}
    for split in result.num_records:
        for record_id in read(result, split):
            person = rows[int(record_id.removeprefix("line-")) - 2][1]
            people.setdefault(person, set()).add(split)
    assert len(people) == 20 and set(map(len, people.values())) == {1}
    assert set.union(*people.values()) == {"train", "validation", "test"}
    with pytest.raises(ValueError, match=r"split_column='label' and group_column="):
        build(folder, text, group_column="person", split_column="label", **columns)


def test_an_image_of_two_groups(folder):
    text = "image,caption,person\n0.png,a,x\n0.png,b,y\n"
    with pytest.raises(ValueError, match=r"line 3: .*group 'y' here and in 'x' on li"):
        build(folder, text, group_column="person", **CAPTIONS)
