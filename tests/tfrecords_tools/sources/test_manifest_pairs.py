"""Texts and the texts to be written from them."""

import json

import pytest

from kmmft.data import first_records
from tfrecords_tools import BuildOptions, build_manifest


def build(folder, rows, **options):
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    return build_manifest(
        manifest=path,
        output_dir=folder,
        name="pairs",
        text_column="en",
        target_text_column="de",
        **{"validation_fraction": 0.0, "test_fraction": 0.0, **options},
    )


def read(result, split="train"):
    return {
        record["text"]: [text.decode() for text in record["targets"]]
        for record in first_records(result.directory, split, 9)
    }


def test_rows_of_one_text_are_one_record(tmp_path):
    rows = [
        {"en": "Open", "de": "Öffnen"},
        {"en": " Save ", "de": ["Speichern", "Sichern"]},
        {"en": "Open", "de": "Offen"},
        {"en": "Open", "de": "Öffnen"},
    ]
    result = build(tmp_path, rows)
    assert read(result) == {
        "Open": ["Öffnen", "Offen"],
        "Save": ["Speichern", "Sichern"],
    }
    ids = {one["id"] for one in first_records(result.directory, "train", 9)}
    assert ids == {"line-0000001", "line-0000002"}


def test_turns_become_one_text(tmp_path):
    rows = [{"en": ["Hi!", " How are you? "], "de": "Fine."}]
    assert read(build(tmp_path, rows)) == {"Hi! | How are you?": ["Fine."]}


def test_other_separator(tmp_path):
    rows = [{"en": ["Hi!", "Hello."], "de": "Fine."}]
    assert read(build(tmp_path, rows, turn_separator="\n")) == {
        "Hi!\nHello.": ["Fine."]
    }


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"en": "Open", "de": ""}, "line 2: The column 'de' is empty"),
        ({"en": ["a", 3], "de": "b"}, "line 2: The column 'en' holds a list"),
        ({"en": "Open", "de": []}, "line 2: The column 'de' holds a list"),
        ({"en": "Open"}, "line 2: There is no column 'de'"),
    ],
)
def test_bad_rows(row, message, tmp_path):
    good = {"en": "Close", "de": "Schließen"}
    with pytest.raises(ValueError, match=message):
        build(tmp_path, [good, row])
    result = build(tmp_path, [good, row], options=BuildOptions(skip_bad=True))
    assert read(result) == {"Close": ["Schließen"]}


def test_a_text_in_two_splits(tmp_path):
    rows = [
        {"en": "Open", "de": "Öffnen", "split": "train"},
        {"en": "Open", "de": "Offen", "split": "test"},
    ]
    with pytest.raises(ValueError, match="The text 'Open' is in split 'test' here"):
        build(tmp_path, rows, split_column="split")
