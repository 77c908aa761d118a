import collections
import csv
import pathlib

import numpy as np
import tensorflow as tf

import kmmft


def test_signs_make_the_label(tmp_path):
    path = kmmft.data.write_drawn_cases(tmp_path, num_cases=150, missing=0.2, seed=1)
    with open(path, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = ("image", "text", "age", "diameter_mm", "site")
    full = [row for row in rows if all(row[c] for c in columns)]
    assert len(rows) == 150 and len(full) > 20
    for row in full:
        picture = tf.io.decode_png((tmp_path / row["image"]).read_bytes()).numpy()
        signs = [picture[20:28, 20:28].mean() < 110]
        signs += ["bleed" in row["text"], float(row["age"]) > 60]
        names = ("harmless", "harmless", "watch", "urgent")
        assert row["label"] == names[sum(signs)], row["id"]
    empty = np.mean([[not row[c] for c in columns] for row in rows], axis=0)
    # Spared one time in five: 0.16, with a standard error of 0.03.
    assert (np.abs(empty - 0.16) < 0.1).all()
    assert all(any(row[c] for c in columns) for row in rows)
    counts = collections.Counter(row["label"] for row in rows)
    assert counts["harmless"] > counts["watch"] > counts["urgent"] > 0
    again = kmmft.data.write_drawn_cases(
        tmp_path / "again", num_cases=150, missing=0.2, seed=1
    )
    assert pathlib.Path(again).read_bytes() == pathlib.Path(path).read_bytes()
