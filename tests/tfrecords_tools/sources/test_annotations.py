"""The entries are those that the data sets' own pages show."""

import json

import pytest
import tensorflow_datasets as tfds

from tfrecords_tools import BuildOptions, build_annotations, build_manifest


@pytest.fixture
def images(tmp_path, encoded_image):
    def write(*names):
        for level, name in enumerate(names):
            path = tmp_path / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded_image(level, image_format="JPEG"))
        return str(tmp_path / "images")

    return write


def build(tmp_path, format, files, images, **options):
    """Builds from files by name, and returns the records by split."""
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text)
    annotations = options.pop("annotations", list(files))
    result = build_annotations(
        format=format,
        annotations=[_place(tmp_path, name) for name in annotations],
        images=[images] if isinstance(images, str) else images,
        output_dir=tmp_path / "data",
        name="built",
        **options,
    )
    builder = tfds.builder_from_directory(str(result.directory))
    return {
        split: {
            record["id"].decode(): record
            for record in tfds.as_numpy(builder.as_dataset(split))
        }
        for split in builder.info.splits
    }


def _place(tmp_path, name):
    split, sign, file = name.rpartition("=")
    return f"{split}{sign}{tmp_path / file}"


def test_coco_captions(tmp_path, images):
    root = images("train2017/000000000009.jpg", "val2017/000000000139.jpg")

    def content(number):
        return {
            "info": {"year": 2017},
            "images": [{"id": number, "file_name": f"{number:012d}.jpg"}],
            "annotations": [
                {"image_id": number, "id": 1, "caption": "A meal. "},
                {"image_id": number, "id": 2, "caption": "Some food."},
            ],
        }

    records = build(
        tmp_path,
        "coco",
        {"train.json": content(9), "val.json": content(139)},
        [f"{root}/train2017", f"{root}/val2017"],
        annotations=["train=train.json", "val=val.json"],
    )
    assert set(records["train"]) == {"9"} and set(records["validation"]) == {"139"}
    captions = records["train"]["9"]["captions"].tolist()
    assert captions == [b"A meal.", b"Some food."]


def test_karpathy_splits(tmp_path, images):
    root = images("val2014/a.jpg", "val2014/b.jpg")
    entries = [
        {
            "filepath": "val2014",
            "filename": f"{name}.jpg",
            "split": split,
            "cocoid": number,
            "sentences": [{"raw": "A man.", "tokens": ["a", "man"]}],
        }
        for number, (name, split) in enumerate([("a", "restval"), ("b", "test")])
    ]
    records = build(tmp_path, "karpathy", {"d.json": {"images": entries}}, root)
    assert {split: list(found) for split, found in records.items()} == {
        "train": ["0"],
        "test": ["1"],
    }


def test_flickr30k_tokens(tmp_path, images):
    root = images("1000092795.jpg")
    lines = "1000092795.jpg#0\tTwo young guys .\n1000092795.jpg#1\tTwo men # 2 .\n"
    records = build(
        tmp_path, "flickr30k", {"t.token": lines}, root, annotations=["test=t.token"]
    )
    captions = records["test"]["1000092795.jpg"]["captions"].tolist()
    assert captions == [b"Two young guys .", b"Two men # 2 ."]


def test_vqa2(tmp_path, images):
    root = images("COCO_train2014_000000458752.jpg")
    questions = [{"image_id": 458752, "question": "What?", "question_id": 458752000}]
    answers = [
        {
            "question_type": "what is this",
            "multiple_choice_answer": "net",
            "answers": [
                {"answer": answer, "answer_id": number}
                for number, answer in enumerate(["net", "net", "a net"])
            ],
            "image_id": 458752,
            "question_id": 458752000,
        }
    ]
    (tmp_path / "q.json").write_text(
        json.dumps({"data_subtype": "train2014", "questions": questions})
    )
    records = build(
        tmp_path,
        "vqa2",
        {"a.json": {"annotations": answers}},
        root,
        annotations=["train=a.json"],
        questions=[str(tmp_path / "q.json")],
    )
    record = records["train"]["458752000"]
    assert (record["question"], record["answer"]) == (b"What?", b"net")
    assert record["answers"].tolist() == [b"net", b"net", b"a net"]
    assert record["image_id"] == b"COCO_train2014_000000458752.jpg"


def test_gqa(tmp_path, images):
    root = images("2405722.jpg")
    entry = {"imageId": "2405722", "question": "Red?", "answer": "no"}
    records = build(
        tmp_path, "gqa", {"g.json": {"02930152": entry}}, root, annotations=["a=g.json"]
    )
    assert records["a"]["02930152"]["answer"] == b"no"


def test_snli_ve_and_hateful_memes(tmp_path, images):
    root = images("4705552913.jpg", "img/42953.png")
    lines = [
        {"Flickr30K_ID": "4705552913", "sentence2": "Two women.", "gold_label": label}
        | {"pairID": f"4705552913.jpg#{label}"}
        for label in ("neutral", "entailment", "-")
    ]
    text = "\n".join(map(json.dumps, lines))
    options = {"annotations": ["train=e.jsonl"]}
    records = build(tmp_path, "snli_ve", {"e.jsonl": text}, root, **options)["train"]
    assert len(records) == 2
    assert records["4705552913.jpg#neutral"]["label"] == 1
    line = {"id": 42953, "img": "img/42953.png", "label": 1, "text": "its their"}
    options["options"] = BuildOptions(overwrite=True)
    text = json.dumps(line)
    records = build(tmp_path, "hateful_memes", {"e.jsonl": text}, root, **options)
    assert records["train"]["42953"]["text"] == b"its their"


def test_conceptual_captions(tmp_path, images):
    root = images("a b.jpg", "c.jpg")
    lines = "a very typical bus station\ta b.jpg\nsierra looked\tc.jpg\n"
    fractions = {"validation_fraction": 0.0, "test_fraction": 0.0}
    records = build(
        tmp_path, "conceptual_captions", {"c.tsv": lines}, root, **fractions
    )
    assert set(records["train"]) == {"a b.jpg", "c.jpg"}


def test_parquet_manifest(tmp_path, images):
    import pyarrow
    import pyarrow.parquet

    images("a.jpg", "b.jpg")
    table = pyarrow.table(
        {
            "file": ["images/a.jpg", "images/b.jpg"],
            "captions": [["one", "two"], ["three"]],
            "split": ["train", "test"],
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "pairs.parquet")
    options = {"output_dir": tmp_path, "name": "pairs", "image_column": "file"}
    options |= {"manifest": tmp_path / "pairs.parquet", "split_column": "split"}
    result = build_manifest(caption_column="captions", **options)
    assert result.num_records == {"train": 1, "test": 1}
    with pytest.raises(ValueError, match=r"no column 'caption'; did you mean 'captio"):
        build_manifest(
            caption_column="caption", options=BuildOptions(overwrite=True), **options
        )
    table = table.append_column("captions", table["captions"])
    pyarrow.parquet.write_table(table, tmp_path / "pairs.parquet")
    with pytest.raises(ValueError, match=r"pairs.parquet: .*'captions' stands there 2"):
        build_manifest(
            caption_column="captions", options=BuildOptions(overwrite=True), **options
        )
    (tmp_path / "pairs.parquet").write_text("file,captions")
    with pytest.raises(ValueError, match="must be a Parquet file"):
        build_manifest(
            caption_column="captions", options=BuildOptions(overwrite=True), **options
        )


BAD = {"images": [{"id": 1, "file_name": "a.jpg"}]}


@pytest.mark.parametrize(
    "format, content, message",
    [
        ("coco", "[1", r"must be JSON.*e\.json"),
        ("coco", BAD, "without annotations"),
        (
            "coco",
            BAD | {"annotations": [{"image_id": 2, "caption": "x"}]},
            r"e\.json entry 0.*'image' is empty",
        ),
        (
            "coco",
            BAD | {"annotations": [{"image_id": 1, "caption": "x"}]},
            r"e\.json entry 0.*a\.jpg.*does not exist",
        ),
        ("coco", BAD | {"annotations": []}, "at least one row"),
        (
            # As of two files that were joined.
            "coco",
            {"images": 2 * BAD["images"], "annotations": []},
            r"e\.json entry 1: .*'id' of its own.*that of another, 1",
        ),
        ("coco", {"images": [{}], "annotations": []}, "entry 0: .*one that has none"),
        ("karpathy", {"images": [7]}, "entry 0: It must be an object, not 7"),
        ("gqa", '{"1": {}, "1": {}}', "the key '1' stands in an object 2 times"),
        ("gqa", {"1": []}, r"question 1: It must be an object, not \[\]"),
        (
            "snli_ve",
            '{"gold_label": "-"}\n{',
            r"e\.json line 2: The line is not valid JSON",
        ),
        ("hateful_memes", "3", r"e\.json line 1: It must be an object, not 3"),
        ("vqa2", {"annotations": []}, "one file of questions"),
    ],
)
def test_bad_files_and_entries_are_named(tmp_path, images, format, content, message):
    root = images("other.jpg")
    with pytest.raises(ValueError, match=message):
        build(tmp_path, format, {"e.json": content}, root)


def test_file_that_is_missing(tmp_path, images):
    with pytest.raises(ValueError, match=r"Received: .*no\.json, which is none"):
        build(tmp_path, "coco", {}, images("a.jpg"), annotations=["train=no.json"])
