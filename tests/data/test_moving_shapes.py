import collections
import csv
import pathlib

import numpy as np
import PIL.Image
import PIL.ImageSequence
import pytest

import kmmft
from kmmft.data.moving_shapes import COLORS

OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}


def drawn(folder, **options):
    path = pathlib.Path(kmmft.data.write_moving_shapes(folder, **options))
    with path.open(newline="", encoding="utf-8") as file:
        return path.parent, list(csv.DictReader(file))


def frames_of(file):
    with PIL.Image.open(file) as gif:
        frames = PIL.ImageSequence.Iterator(gif)
        return [np.asarray(frame.convert("RGB"), int) for frame in frames]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("clips"), image_size=24, num_frames=5)


def test_each_caption_once_in_the_test_split(clips):
    _, rows = clips
    counts = collections.Counter((row["split"], row["caption"]) for row in rows)
    assert len({caption for _, caption in counts}) == 24
    for (split, _), count in counts.items():
        assert count == (32 if split == "train" else 1)


def test_clips_show_what_their_captions_say(clips):
    folder, rows = clips
    for row in rows[::7]:
        _, color, shape, _, direction = row["caption"].split()
        frames = frames_of(folder / row["video"])
        assert len(frames) == 5
        centers = []
        for frame in frames:
            inside = (frame != 245).any(-1)
            np.testing.assert_allclose(frame[inside], [COLORS[color]] * inside.sum())
            tall, wide = (inside.any(axis).sum() for axis in (1, 0))
            assert (inside.sum() == tall * wide) == (shape == "square")
            centers.append(np.argwhere(inside).mean(axis=0))
        moved = np.diff(centers, axis=0)
        axis = 1 if direction in ("left", "right") else 0
        sign = -1 if direction in ("left", "up") else 1
        assert np.all(sign * moved[:, axis] > 0)
        np.testing.assert_allclose(moved[:, 1 - axis], 0, atol=0.6)


def test_the_opposite_clip_is_the_same_backwards(clips):
    folder, rows = clips
    by_id = {row["id"]: row for row in rows}
    for row in rows[::11]:
        *rest, direction = row["id"].split("-")
        other = by_id["-".join([*rest, OPPOSITE[direction]])]
        forward, backward = (frames_of(folder / r["video"]) for r in (row, other))
        np.testing.assert_array_equal(forward, backward[::-1])


@pytest.mark.parametrize(
    "options", [{"num_frames": 1}, {"image_size": 4}, {"train_repeats": 0}]
)
def test_too_small(options, tmp_path):
    with pytest.raises(ValueError, match="Received"):
        kmmft.data.write_moving_shapes(tmp_path, **options)
