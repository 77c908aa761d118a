"""Each operation against Pillow on a real picture, and the draws."""

import matplotlib.cbook
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from kmmft.data import RandAugment, image_operations

# Strengths at 17 of 30 for 64 x 96 pixels, as printed by torchvision 0.29.1:
# `RandAugment()._augmentation_space(31, (64, 96))`; translations 24.65 and 16.44.
SHEAR, ANGLE, CHANGE, BITS, THRESHOLD = 0.17, 17.0, 0.51, 6, 110.5
NEAREST, AFFINE = Image.Resampling.NEAREST, Image.Transform.AFFINE


@pytest.fixture(scope="module")
def picture():
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        return Image.open(file).convert("RGB").crop((200, 60, 296, 124))


@pytest.fixture(scope="module")
def operations():
    return RandAugment(magnitude=17, interpolation="nearest").operations((64, 96, 3))


def applied(operation, picture, sign):
    image = tf.constant(np.asarray(picture), tf.float32)
    return tf.function(operation)(image, tf.constant(sign)).numpy()


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(
    ("name", "matrix"),
    [
        ("shear_x", lambda s: (1, s * SHEAR, 0, 0, 1, 0)),
        ("shear_y", lambda s: (1, 0, 0, s * SHEAR, 1, 0)),
        ("translate_x", lambda s: (1, 0, s * 24, 0, 1, 0)),
        ("translate_y", lambda s: (1, 0, 0, 0, 1, s * 16)),
    ],
)
def test_affine(picture, operations, name, matrix, sign):
    expected = picture.transform(picture.size, AFFINE, matrix(sign), NEAREST)
    result = applied(operations[name], picture, sign)
    np.testing.assert_array_equal(result, np.asarray(expected))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_rotation(picture, operations, sign):
    expected = np.asarray(picture.rotate(sign * ANGLE, NEAREST))
    result = applied(operations["rotate"], picture, sign)
    # Pillow rounds where it looks to 1/65536 of a pixel.
    assert (result != expected).any(-1).mean() < 0.002


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(
    ("name", "enhancer"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("colour", ImageEnhance.Color),
        ("contrast", ImageEnhance.Contrast),
        ("sharpness", ImageEnhance.Sharpness),
    ],
)
def test_enhancements(picture, operations, name, enhancer, sign):
    expected = enhancer(picture).enhance(1 + sign * CHANGE)
    result = applied(operations[name], picture, sign)
    # Pillow rounds the grey or smooth image, and cuts what it blends to whole numbers.
    assert np.abs(result - np.asarray(expected)).max() < 1.6


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("posterize", lambda image: ImageOps.posterize(image, BITS)),
        ("solarize", lambda image: ImageOps.solarize(image, THRESHOLD)),
        ("autocontrast", ImageOps.autocontrast),
        ("equalize", ImageOps.equalize),
        ("identity", lambda image: image),
    ],
)
def test_tables_are_exact(picture, operations, name, expected):
    pictures = [picture, ImageEnhance.Contrast(picture).enhance(0.3)]
    # One colour only, and two channels of one value.
    pictures.append(Image.new("RGB", (96, 64), (3, 3, 200)))
    for one in pictures:
        result = applied(operations[name], one, 1.0)
        np.testing.assert_array_equal(result, np.asarray(expected(one)))


def test_bilinear_transform(picture):
    matrix = (1, 0.17, 0, 0, 1, 0)
    bilinear = Image.Resampling.BILINEAR
    expected = np.asarray(picture.transform(picture.size, AFFINE, matrix, bilinear))
    image = tf.constant(np.asarray(picture), tf.float32)
    result = image_operations.transform(image, tf.constant(matrix), "bilinear", 0.0)
    # At the edge of what is filled in, Pillow takes the nearest pixel.
    inside = (result.numpy() > 0).all(-1) & (expected > 0).all(-1)
    inside[:, -14:] = False
    assert inside.mean() > 0.7
    assert np.abs(result.numpy() - expected)[inside].max() <= 1.0


def test_draws_depend_on_the_seed_alone_and_use_all_operations(picture):
    augmentation = RandAugment(num_ops=1, magnitude=17, interpolation="nearest")
    image = tf.constant(np.asarray(picture), tf.float32)
    call = tf.function(augmentation)
    first = [call(image, tf.constant([1, n])).numpy() for n in range(150)]
    tf.random.set_seed(5)
    second = [call(image, tf.constant([1, n])).numpy() for n in range(150)]
    np.testing.assert_array_equal(first, second)
    kinds = set()
    for name, operation in augmentation.operations(image.shape).items():
        for sign in (1.0, -1.0):
            result = applied(operation, picture, sign).tobytes()
            kinds |= {name} if result in {x.tobytes() for x in first} else set()
    assert len(kinds) == 14
    assert np.min(first) >= 0 and np.max(first) <= 255


@pytest.mark.parametrize(
    "options",
    [
        {"num_ops": 0},
        {"magnitude": 31},
        {"interpolation": "cubic"},
        {"fill": -1.0},
    ],
)
def test_arguments_are_checked(options):
    with pytest.raises(ValueError, match=f"`{next(iter(options))}` must"):
        RandAugment(**options)
