"""Columns of numbers and categories, and rows that lack something."""

import math

import numpy as np
import pytest

from tests.tfrecords_tools.sources.test_manifest import read
from tfrecords_tools import build_manifest, inspect_data, verify_data
from tfrecords_tools.preview import preview_data

COLUMNS = {
    "image_column": "scan",
    "text_column": "report",
    "label_column": "finding",
    "number_columns": ("age", "dose"),
    "category_columns": ("site",),
    "id_column": "id",
}
HEADER = "id,scan,report,age,dose,site,finding\n"


def build(folder, rows, **options):
    (folder / "cases.csv").write_text(HEADER + rows)
    return build_manifest(
        manifest=folder / "cases.csv",
        output_dir=folder / "out",
        name="cases",
        validation_fraction=0.0,
        test_fraction=0.0,
        **{**COLUMNS, **options},
    )


@pytest.fixture
def folder(tmp_path, encoded_image):
    (tmp_path / "a.png").write_bytes(encoded_image(1))
    return tmp_path


def test_rows_may_lack_what_others_have(folder, encoded_image):
    rows = "full,a.png,clear,61,0.5,arm,no\nscan,a.png, ,,,,yes\n"
    rows += "report,,seen,,1e2,,no\nnumbers,,,7,,leg,yes\n"
    result = build(folder, rows, allow_missing=True)
    records = read(result)
    assert len(records) == 4
    full, numbers = records["full"], records["numbers"]
    assert full["image"] == encoded_image(1) and full["text"] == b"clear"
    assert full["age"] == np.float32(61) and full["site"] == b"arm"
    assert records["scan"]["text"] == b"" and records["scan"]["image"]
    assert math.isnan(records["scan"]["age"]) and records["report"]["dose"] == 100
    assert numbers["image"] == b"" and numbers["age"] == 7
    assert verify_data(data=result.directory).findings == ()
    found = inspect_data(data=result.directory)
    images = found.splits["train"]["images"]["image"]
    assert (images["count"], images["missing"], images["unreadable"]) == (2, 2, 0)
    assert "missing" in str(found)
    preview_data(data=result.directory, output=folder / "page.html")
    assert "cannot be decoded" not in (folder / "page.html").read_text()


@pytest.mark.parametrize(
    ("rows", "options", "reason"),
    [
        ("a,a.png,x,old,1,arm,no\n", {}, r"line 2.*'age' holds 'old', not a number"),
        ("a,a.png,x,1,inf,arm,no\n", {}, r"'dose' holds 'inf', which is no finite"),
        ("a,a.png,x,1,nan,arm,no\n", {}, r"'dose' holds 'nan', which is no finite"),
        ("a,a.png,x,,1,arm,no\n", {}, r"'age' is empty"),
        ("a,,x,1,1,arm,no\n", {}, r"'scan' is empty"),
        ("a,,,,,,no\n", {"allow_missing": True}, r"nothing but a label"),
        ("a,a.png,x,1,1,arm,\n", {"allow_missing": True}, r"'finding' is empty"),
        (
            "a,a.png,x,1,1,arm,no\n",
            {"number_columns": ("agee",)},
            r"no column 'agee'; did you mean 'age'",
        ),
        (
            "a,a.png,x,1,1,arm,no\n",
            {"label_column": None, "allow_missing": True},
            r"allow_missing=True and no label_column",
        ),
        (
            "a,a.png,x,1,1,arm,no\n",
            {"label_column": None},
            r"Received: category_columns, image_column, number_columns, text_column",
        ),
    ],
)
def test_bad_columns_and_cells_are_named(folder, rows, options, reason):
    with pytest.raises(ValueError, match=reason):
        build(folder, rows, **options)


def test_numbers_alone_make_records(tmp_path):
    only = {"image_column": None, "text_column": None}
    result = build(tmp_path, "a,,,1,2,arm,no\nb,,,1,2,leg,yes\n", **only)
    assert sorted(read(result)["b"]) == ["age", "dose", "id", "label", "site"]
