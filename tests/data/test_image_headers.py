"""Sizes read from headers, beside what Pillow wrote there and what decoders make."""

import io
import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kmmft


def encoded(kind, size=(60, 40), mode="RGB", **options):
    file = io.BytesIO()
    Image.new(mode, size, 3).save(file, kind, **options)
    return file.getvalue()


def animation(sizes):
    pictures = [
        Image.fromarray(np.random.default_rng(i).integers(0, 255, size[::-1], np.uint8))
        for i, size in enumerate(sizes)
    ]
    file = io.BytesIO()
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:])
    return file.getvalue()


@pytest.fixture(scope="module")
def pixels():
    spec = [tf.TensorSpec([], tf.string)]
    graph = tf.function(kmmft.data.image_pixels, input_signature=spec)
    return lambda image: graph(image).numpy().item()


BOTTOM_UP = encoded("BMP")
# A negative height: rows from top to bottom.
TOP_DOWN = BOTTOM_UP[:22] + (-40).to_bytes(4, "little", signed=True) + BOTTOM_UP[26:]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (encoded("JPEG"), 2400),
        (encoded("JPEG", mode="L", progressive=True), 2400),
        (encoded("JPEG", mode="CMYK"), 2400),
        (encoded("PNG", size=(70000, 3), mode="L"), 210000),
        (encoded("PNG", mode="P"), 2400),
        (encoded("GIF"), 2400),
        (BOTTOM_UP, 2400),
        (TOP_DOWN, 2400),
        (encoded("WEBP", size=(61, 43)), 2623),
        (encoded("WEBP", size=(61, 43), lossless=True), 2623),
        (encoded("WEBP", size=(5000, 43), mode="RGBA"), 215000),
        (b"", 0),
        (b"GIF89a", 0),
        (b"not an image", 0),
        (b"RIFF\0\0\0\0WAVEfmt ", 0),
    ],
    ids=itertools.count(),
)
def test_pixels_are_read_from_the_header(pixels, image, expected):
    assert pixels(image) == expected


def test_all_frames_of_a_gif_count_a_third(pixels):
    assert pixels(animation([(50, 30)] * 2)) == 1500
    assert pixels(animation([(50, 30)] * 9)) == 9 * 1500 // 3


def test_the_frame_of_a_gif_counts_and_not_its_screen(pixels):
    gif = bytearray(encoded("GIF"))
    place = gif.index(b",\0\0\0\0")
    gif[place + 5 : place + 9] = b"\xff\xff\xff\x7f"
    assert pixels(bytes(gif)) == 0xFFFF * 0x7FFF


def test_a_gif_of_endless_frames_is_too_large(pixels):
    head = b"GIF89a\1\0\1\0\0\0\0"
    frame = b",\0\0\0\0\1\0\1\0\0\2\2L\1\0"
    assert pixels(head + frame * 30) == 10
    assert pixels(head + frame * 5000) > 2**60


def test_cut_and_changed_files_give_a_number_or_an_error(pixels):
    random = np.random.default_rng(0)
    for image in (animation([(50, 30)] * 3), encoded("WEBP"), encoded("BMP")):
        for _ in range(25):
            bad = bytearray(image[: random.integers(1, len(image))])
            bad[random.integers(len(bad))] = random.integers(256)
            assert pixels(bytes(bad)) >= 0
    with pytest.raises(tf.errors.InvalidArgumentError):
        pixels(b"\xff\xd8\xff\xe0")
