import collections
import csv
import pathlib

import numpy as np
import tensorflow as tf

import kmmft
from kmmft.data.colored_shapes import COLORS


def drawn(folder, **kwargs):
    path = pathlib.Path(kmmft.data.write_colored_shapes(folder, **kwargs))
    with path.open(newline="", encoding="utf-8") as file:
        return path.parent, list(csv.DictReader(file))


def test_rows_and_pictures(tmp_path):
    folder, rows = drawn(tmp_path / "made" / "for it", image_size=16)
    counts = collections.Counter(row["split"] for row in rows)
    assert counts == {"train": 192, "validation": 48, "test": 48}
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows[:24]:
        *_, color, shape, time = row["id"].split("-")
        encoded = (folder / row["image"]).read_bytes()
        picture = tf.io.decode_png(encoded).numpy()
        assert picture.shape == (16, 16, 3)
        found = {tuple(pixel) for pixel in picture.reshape(-1, 3).tolist()}
        assert found == {(245, 245, 245), COLORS[color]}
        # A square fills its bounding box, a disc about pi / 4 of it.
        inside = (picture != 245).any(-1)
        tall, wide = (inside.any(axis).sum() for axis in (0, 1))
        assert (inside.sum() == tall * wide) == (shape == "square")
        answers = {"what color is it?": color, "what shape is it?": shape}
        assert row["answer"] == answers[row["question"]]
        assert (row["text"], row["label"]) == (f"seen at {time}", f"{color} {time}")
        assert row["caption"] == f"a {color} {shape}"


def test_text_tells_nothing_of_the_color(tmp_path):
    _, rows = drawn(tmp_path, image_size=4)
    pairs = collections.Counter((row["text"], row["label"].split()[0]) for row in rows)
    assert len(pairs) == 6 and len(set(pairs.values())) == 1


def test_drawn_again_alike(tmp_path):
    first, rows = drawn(tmp_path / "a", image_size=8)
    second, again = drawn(tmp_path / "b", image_size=8)
    assert rows == again
    for row in rows[::40]:
        one, other = ((d / row["image"]).read_bytes() for d in (first, second))
        np.testing.assert_array_equal(tf.io.decode_png(one), tf.io.decode_png(other))
