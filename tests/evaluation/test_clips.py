import io

import numpy as np
import PIL.Image
import PIL.ImageSequence
import pytest

import kmmft


def jpeg(level, size):
    file = io.BytesIO()
    PIL.Image.new("RGB", size, (level,) * 3).save(file, "JPEG")
    return file.getvalue()


def test_frames_follow_each_other_and_are_made_small():
    frames = [jpeg(level, (200, 100)) for level in (0, 100, 200)]
    clip = kmmft.evaluation.animated_clip(frames, longest_side=50)
    with PIL.Image.open(io.BytesIO(clip)) as gif:
        shown = [
            np.asarray(frame.convert("L"), int)
            for frame in PIL.ImageSequence.Iterator(gif)
        ]
    assert [frame.shape for frame in shown] == [(25, 50)] * 3
    np.testing.assert_allclose([frame.mean() for frame in shown], [0, 100, 200], atol=3)


def test_no_frames():
    with pytest.raises(ValueError, match="must have a frame"):
        kmmft.evaluation.animated_clip([])
