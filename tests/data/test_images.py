"""Decoding and resizing, against Pillow on the same bytes."""

import functools
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kmmft.data import decode_image, decode_images

from .conftest import encode

HEIGHT, WIDTH = 12, 15


def noise(channels, dtype=np.uint8):
    shape = (HEIGHT, WIDTH, channels) if channels > 1 else (HEIGHT, WIDTH)
    top = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, top + 1, shape).astype(dtype)


def palette():
    return Image.fromarray(noise(3)).convert("P")


def frames(file_format):
    second = [Image.fromarray(noise(3)[::-1].copy())]
    first = Image.fromarray(noise(3))
    return encode(first, file_format, save_all=True, append_images=second)


def over_white(encoded):
    """What Pillow makes of the bytes."""
    image = Image.open(io.BytesIO(encoded)).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image))[..., :3].astype(float)


LOSSLESS = {
    "png": lambda: encode(noise(3)),
    "png_alpha": lambda: encode(noise(4)),
    "png_grey": lambda: encode(noise(1)),
    "png_grey_alpha": lambda: encode(Image.fromarray(noise(4)).convert("LA")),
    "png_palette": lambda: encode(palette()),
    "png_palette_transparent": lambda: encode(palette(), transparency=3),
    "png_rgb_transparent": lambda: encode(
        noise(3), transparency=tuple(int(value) for value in noise(3)[0, 0])
    ),
    "png_one_bit": lambda: encode(Image.fromarray(noise(3)).convert("1")),
    "webp": lambda: encode(noise(3), "WEBP", lossless=True),
    "webp_alpha": lambda: encode(noise(4), "WEBP", lossless=True, exact=True),
    "gif": lambda: encode(palette(), "GIF"),
    "gif_animated": lambda: frames("GIF"),
    "bmp": lambda: encode(noise(3), "BMP"),
    "bmp_32_bit": lambda: encode(noise(4), "BMP"),
}


@functools.cache
def decoder(size, mode="crop", interpolation="bilinear"):
    return tf.function(
        lambda encoded: decode_image(encoded, size, mode, interpolation),
        input_signature=[tf.TensorSpec((), tf.string)],
    )


def decode(encoded, size=(HEIGHT, WIDTH), mode="crop", interpolation="bilinear"):
    return decoder(size, mode, interpolation)(tf.constant(encoded)).numpy()


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats_equal_pillow(name):
    encoded = LOSSLESS[name]()
    np.testing.assert_array_equal(decode(encoded), over_white(encoded))


def test_every_alpha_value_composites_like_pillow():
    grey, alpha = np.meshgrid(np.arange(256), np.arange(256))
    encoded = encode(np.stack([grey, grey, grey, alpha], -1).astype(np.uint8))
    ours = decode(encoded, (256, 256))
    np.testing.assert_array_equal(ours, over_white(encoded))


def test_sixteen_bits_keep_the_high_byte():
    pixels = noise(1, np.uint16)
    ours = decode(encode(pixels))
    np.testing.assert_array_equal(ours[..., 0], pixels >> 8)
    np.testing.assert_array_equal(ours[..., 2], pixels >> 8)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_is_close_to_pillow(mode):
    # The decoders round differently in the inverse transform and the colours.
    encoded = encode(Image.fromarray(noise(3)).convert(mode), "JPEG", quality=90)
    assert np.abs(decode(encoded) - over_white(encoded)).max() <= 4


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        (b"", "empty"),
        (b"no image at all", "Unknown image file format"),
        (LOSSLESS["png"]()[:200], "PNG"),
        (encode(noise(3), "JPEG")[:300], "JPEG"),
        (frames("WEBP"), "Animated WebP"),
        (encode(palette(), "BMP"), "palette"),
    ],
    ids=["empty", "text", "cut_png", "cut_jpeg", "animated_webp", "palette_bmp"],
)
def test_unreadable_bytes_are_refused(encoded, reason):
    with pytest.raises(tf.errors.InvalidArgumentError, match=reason):
        decode(encoded)


def smooth(height, width):
    small = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("height", "width"), [(90, 131), (20, 17)])
def test_stretch_is_pillows_antialiased_resize(kernel, height, width):
    # Grey enough that bicubic does not overshoot: Pillow cuts after each direction.
    noise = np.random.default_rng(2).integers(70, 186, (height, width, 3), np.uint8)
    image = Image.fromarray(noise)
    resample = getattr(Image.Resampling, kernel.upper())
    expected = np.asarray(image.resize((32, 24), resample), float)
    ours = decode(encode(image), (24, 32), "stretch", kernel)
    # Pillow rounds to whole numbers after each of the two directions.
    assert np.abs(ours - expected).max() <= 1.5


def test_resize_without_antialiasing_would_be_told_apart():
    image = encode(np.random.default_rng(2).integers(0, 256, (90, 131, 3), np.uint8))
    pixels = tf.io.decode_png(image)
    plain = tf.image.resize(pixels, (24, 32)).numpy()
    assert np.abs(decode(image, (24, 32), "stretch") - plain).max() > 20


@pytest.mark.parametrize(("height", "width"), [(50, 91), (91, 50), (30, 30)])
def test_crop_keeps_the_centre(height, width):
    image = smooth(height, width)
    shorter = min(height, width)
    scaled = (width * 24 // shorter, height * 24 // shorter)
    left, top = ((length - 24) // 2 for length in scaled)
    expected = np.asarray(image.resize(scaled, Image.Resampling.BILINEAR), float)
    expected = expected[top : top + 24, left : left + 24]
    assert np.abs(decode(encode(image), (24, 24)) - expected).max() <= 1.5


def test_pad_fills_with_white():
    ours = decode(encode(np.zeros((20, 40, 3), np.uint8)), (16, 16), "pad")
    assert (ours[:4] == 255).all() and (ours[12:] == 255).all()
    assert (ours[4:12] == 0).all()


def test_large_jpeg_is_close_to_full_decoding():
    encoded = encode(smooth(400, 533), "JPEG", quality=95)
    full = tf.image.resize(tf.io.decode_jpeg(encoded), (24, 32), antialias=True)
    # Decoded at a quarter of the size. Without that, they would be equal.
    difference = np.abs(decode(encoded, (24, 32), "stretch") - full)
    assert 0 < difference.max() <= 4


def test_bicubic_stays_in_range():
    edges = np.kron([[0, 1], [1, 0]], np.ones((9, 9)))[..., None].repeat(3, -1) * 255
    ours = decode(encode(edges.astype(np.uint8)), (40, 40), interpolation="bicubic")
    assert ours.min() == 0 and ours.max() == 255


def test_batch_equals_one_by_one_and_may_be_empty():
    encoded = [LOSSLESS[name]() for name in ("png", "webp_alpha", "png_grey")]
    batch = tf.function(lambda images: decode_images(images, 8))
    ours = batch(tf.constant(encoded)).numpy()
    np.testing.assert_array_equal(ours, [decode(one, (8, 8)) for one in encoded])
    assert batch(tf.constant([], tf.string)).shape == (0, 8, 8, 3)


def test_shape_is_static():
    output = decoder((24, 32)).get_concrete_function().structured_outputs
    assert output.shape == (24, 32, 3) and output.dtype == tf.float32


@pytest.mark.parametrize(
    "arguments",
    [
        {"image_size": 0},
        {"image_size": (8, 8, 3)},
        {"image_size": 8, "resize_mode": "fit"},
        {"image_size": 8, "interpolation": "nearest"},
    ],
)
def test_arguments_are_checked(arguments):
    with pytest.raises(ValueError, match="Received"):
        decode_image(LOSSLESS["png"](), **arguments)
