"""Fused decode-and-crop is decoding all, cutting and scaling."""

import io

import matplotlib.cbook
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kmmft.data import ImageAugmentation, decode_image, decode_random_crop
from kmmft.data.random_crop import crop_window

RANGES = ((0.2, 1.0), (0.75, 4 / 3))
SIZE = (40, 50)


@pytest.fixture(scope="module")
def picture():
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        return Image.open(file).convert("RGB").crop((0, 0, 511, 399))


@pytest.fixture(scope="module")
def crop():
    return tf.function(
        lambda encoded, draws, size: decode_random_crop(encoded, size, draws, *RANGES),
        reduce_retracing=False,
    )


def encoded(picture, format, **options):
    file = io.BytesIO()
    picture.save(file, format, **options)
    return tf.constant(file.getvalue())


def draws(count, seed=0):
    return tf.unstack(tf.random.stateless_uniform((count, 4), (seed, 1)))


def window_of(shape, size, draw):
    box = crop_window(tf.constant(shape), size, tf.unstack(draw), *RANGES)
    return tuple(int(number) for number in box)


def ratio_of(box, size):
    """At which part of its size the window is decoded."""
    spare = min(box[2] // size[0], box[3] // size[1])
    return max(ratio for ratio in (1, 2, 4, 8) if ratio <= max(spare, 1))


@pytest.mark.parametrize("subsampling", [0, 2])
def test_equals_decoding_all_and_cutting(picture, crop, subsampling):
    jpeg = encoded(picture, "JPEG", quality=90, subsampling=subsampling)
    ratios = set()
    for size in ((300, 220), (80, 90), SIZE):
        for draw in draws(10):
            box = window_of((399, 511), size, draw)
            ratio = ratio_of(box, size)
            ratios.add(ratio)
            top, left, height, width = (number // ratio for number in box)
            whole = tf.io.decode_jpeg(jpeg, channels=3, ratio=ratio)
            cut = whole[top : top + height, left : left + width]
            expected = tf.clip_by_value(tf.image.resize(cut, size), 0.0, 255.0)
            np.testing.assert_array_equal(crop(jpeg, draw, size), expected)
    assert ratios == {1, 2, 4, 8}


def test_jpeg_is_nearly_as_close_to_means_of_pixels_as_antialiased_bilinear(
    picture, crop
):
    jpeg = encoded(picture, "JPEG", quality=95)
    pixels = tf.io.decode_jpeg(jpeg)
    decoded = Image.fromarray(pixels.numpy())
    errors = []
    for draw in draws(12, seed=1):
        box = window_of((399, 511), SIZE, draw)
        ratio = ratio_of(box, SIZE)
        top, left, height, width = (number // ratio * ratio for number in box)

        area = (left, top, left + width, top + height)
        filters = (Image.Resampling.BOX, Image.Resampling.BILINEAR)
        means, bilinear = (
            np.asarray(decoded.resize(SIZE[::-1], filter, area), np.float32)
            for filter in filters
        )
        cut = pixels[top : top + height, left : left + width]
        aliased = tf.image.resize(cut, SIZE)
        images = (crop(jpeg, draw, SIZE), bilinear, aliased)
        errors.append([np.abs(image - means).mean() for image in images])
    ours, bilinear, aliased = np.mean(errors, axis=0)
    # Levels of 255: 4.6, 3.8 and 10.5.
    assert ours < 1.3 * bilinear and ours < 0.5 * aliased


def test_png_is_scaled_as_pillow_does(picture, crop):
    png = encoded(picture, "PNG")
    for draw in draws(6):
        top, left, height, width = window_of((399, 511), SIZE, draw)
        area = (left, top, left + width, top + height)
        expected = picture.resize(SIZE[::-1], Image.Resampling.BILINEAR, area)
        error = np.abs(crop(png, draw, SIZE) - np.asarray(expected, np.float32))
        # Pillow rounds; at its edges, it does not look outside the window.
        assert error[2:-2, 2:-2].max() < 1.5 and error.mean() < 0.5


def test_windows_stay_inside_with_the_asked_shape():
    size = (20, 30)
    areas = []
    for shape in ((400, 600), (37, 900), (900, 37), (1, 1), (2, 3)):
        for draw in [tf.zeros(4), tf.fill((4,), 0.9999999), *draws(40)]:
            top, left, height, width = window_of(shape, size, draw)
            assert min(height, width) >= 1 and min(top, left) >= 0
            assert top + height <= shape[0] and left + width <= shape[1]
            if min(height, width) > 9:
                ratio = width / height / 1.5
                assert 0.75 * 0.95 <= ratio <= 4 / 3 * 1.05
            if shape == (400, 600):
                areas.append(height * width / 240_000)
    assert 0.19 < min(areas) < 0.3 and 0.8 < max(areas) <= 1.0


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P"])
def test_other_kinds_of_images(picture, crop, mode):
    format = "JPEG" if mode in ("L", "CMYK") else "PNG"
    kind = encoded(picture.convert(mode), format)
    corner = (0.3, 0.5, 0.0, 0.0)
    result = crop(kind, tf.constant(corner), SIZE)
    height, width = window_of((399, 511), SIZE, tf.constant(corner))[2:]
    reference = decode_image(kind, (399, 511), "stretch")[:height, :width]
    expected = tf.image.resize(reference, SIZE, antialias=True)
    # Mixed up channels or inverted colours are tens of levels off.
    assert np.abs(result - expected).mean() < 8


def test_augmentation_decodes_with_its_crop(picture):
    jpeg = encoded(picture, "JPEG")
    augmentation = ImageAugmentation(crop_area=(0.3, 0.6), horizontal_flip=True)
    decode = tf.function(lambda seed: augmentation.decode(jpeg, 32, seed))
    images = [decode(tf.constant([2, n])).numpy() for n in range(20)]
    tf.random.set_seed(9)
    again = [decode(tf.constant([2, n])).numpy() for n in range(20)]
    np.testing.assert_array_equal(images, again)
    assert images[0].shape == (32, 32, 3) and len({x.tobytes() for x in images}) == 20
    assert np.min(images) >= 0 and np.max(images) <= 255
    only_crop = ImageAugmentation(
        crop_area=(0.3, 0.6),
        horizontal_flip=False,
        brightness=0,
        contrast=0,
        saturation=0,
    )
    draw = tf.random.stateless_uniform((11,), (2, 3))[:4]
    expected = decode_random_crop(jpeg, 32, draw, (0.3, 0.6), (0.9, 1.1))
    np.testing.assert_array_equal(only_crop.decode(jpeg, 32, (2, 3)), expected)


@pytest.mark.parametrize("bad", [b"", b"\xff\xd8\xff", b"text"])
def test_no_image(crop, bad):
    with pytest.raises(tf.errors.InvalidArgumentError):
        crop(tf.constant(bad), tf.zeros(4), SIZE)
