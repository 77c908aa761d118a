"""Batches with bad images in them: the good rows are as if there were none."""

import io
import resource

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kmmft
from tests.data.test_image_headers import animation, encoded

GOOD = {
    "jpeg": encoded("JPEG"),
    "grey jpeg": encoded("JPEG", mode="L"),
    "cmyk jpeg": encoded("JPEG", mode="CMYK"),
    "png": encoded("PNG", mode="RGBA"),
    "16 bit png": encoded("PNG", mode="I;16"),
    "palette png": encoded("PNG", mode="P"),
    "gif": animation([(50, 30)] * 3),
    "bmp": encoded("BMP"),
    "webp": encoded("WEBP"),
    "webp with alpha": encoded("WEBP", mode="RGBA"),
}


def animated_webp():
    file = io.BytesIO()
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    return file.getvalue()


BAD = {
    "is empty": b"",
    "is not a JPEG": b"<html>404</html>",
    "cannot be decoded": encoded("JPEG", size=(600, 400))[:300],
    "BMP with a palette": encoded("BMP", mode="P"),
    "Animated WebP": animated_webp(),
    "has 100020000 pixels; at most 50000000": encoded("PNG", (20000, 5001), "1"),
}


@pytest.fixture(scope="module")
def decode_rows():
    return tf.function(
        lambda rows: kmmft.data.decode_rows(
            rows, lambda one: kmmft.data.decode_image(one, 8)
        ),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )


def test_good_rows_are_decoded_as_ever_between_bad_ones(decode_rows):
    rows = [
        row
        for pair in zip(GOOD.values(), [*BAD.values()] * 2, strict=False)
        for row in pair
    ]
    images, errors = decode_rows(tf.constant(rows))
    assert images.shape == (len(rows), 8, 8, 3)
    expected = kmmft.data.decode_images(tf.constant([*GOOD.values()]), 8)
    np.testing.assert_array_equal(images[::2], expected)
    assert not np.any(images[1::2])
    assert set(errors[::2].numpy()) == {b""}
    texts = [text.decode() for text in errors[1::2].numpy()]
    for text, beginning in zip(texts, [*BAD] * 2, strict=False):
        assert text.startswith(beginning)


def test_no_memory_is_taken_for_a_bomb(decode_rows):
    # Of a size that Pillow writes and TensorFlow would decode: 300 MB of pixels.
    bomb = tf.constant([encoded("GIF", (10000, 10000), "L")])
    decode_rows(tf.constant([GOOD["gif"]]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _, errors = decode_rows(bomb)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert errors.numpy()[0].startswith(b"has 100000000 pixels")
    assert (after - before) / 1024 < 60


def test_any_structure_and_frames_with_gaps():
    def decode(frames):
        chosen, mask = kmmft.data.sample_frames(frames, 2)
        return {"video": kmmft.data.decode_images(chosen, 8), "mask": mask}

    rows = tf.constant(
        [
            [GOOD["png"], "", GOOD["jpeg"]],
            [GOOD["png"], "x", GOOD["jpeg"]],
            ["", "", ""],
            ["", "", GOOD["bmp"]],
        ]
    )
    values, errors = tf.function(lambda x: kmmft.data.decode_rows(x, decode))(rows)
    assert values["video"].shape == (4, 2, 8, 8, 3)
    assert values["mask"].numpy().tolist() == [
        [True, True],
        [False, False],
        [False, False],
        [True, False],
    ]
    assert [bool(text) for text in errors.numpy()] == [False, True, True, False]
