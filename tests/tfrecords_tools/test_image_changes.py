import io

import numpy as np
import PIL.Image
import pytest

from tfrecords_tools import BuildOptions
from tfrecords_tools.bad_rows import LeftOut
from tfrecords_tools.image_changes import fit_image

# Soft, so that JPEG keeps it.
PIXELS = np.asarray(
    PIL.Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    ).resize((60, 40), PIL.Image.Resampling.BICUBIC)
)


def encoded(image_format, mode="RGB", **options):
    stream = io.BytesIO()
    PIL.Image.fromarray(PIXELS).convert(mode).save(stream, image_format, **options)
    return stream.getvalue()


def fit(image, **options):
    return PIL.Image.open(io.BytesIO(fit_image(image, "a", BuildOptions(**options))))


@pytest.mark.parametrize(
    "image, options",
    [
        (encoded("JPEG"), {"reencode": "jpeg", "jpeg_quality": 10}),
        (encoded("PNG"), {"max_side": 60}),
        (encoded("WEBP"), {"max_side": 60, "reencode": "webp"}),
        (encoded("GIF"), {"max_side": 60}),
        (encoded("PNG"), {"min_side": 40, "max_aspect_ratio": 1.5}),
    ],
)
def test_what_needs_no_change_keeps_its_bytes(image, options):
    assert fit_image(image, "a", BuildOptions(**options)) is image


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_formats_and_sizes(source, kind):
    image = fit(encoded(source), reencode=kind, max_side=30)
    assert (image.format, image.size) == (kind.upper(), (30, 20))
    expected = PIL.Image.fromarray(PIXELS).resize((30, 20))
    difference = np.asarray(image.convert("RGB"), float) - np.asarray(expected)
    # A GIF has 256 colours.
    assert np.abs(difference).mean() < 12


@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP"])
def test_smaller_images_keep_their_format(source):
    assert fit(encoded(source), max_side=20).format == source
    assert fit(encoded("BMP"), max_side=20).format == "PNG"


def test_cmyk_and_palette():
    pixels = np.asarray(fit(encoded("JPEG", "CMYK"), reencode="png"))
    assert np.abs(pixels.astype(float) - PIXELS).mean() < 6
    image = fit(encoded("PNG", "P"), reencode="jpeg")
    assert np.abs(np.asarray(image, float) - PIXELS).mean() < 12


def test_sixteen_bits_are_made_eight():
    deep = np.array([[0, 255, 256, 32768, 65535]], np.uint16).repeat(2, 0)
    stream = io.BytesIO()
    PIL.Image.fromarray(deep).save(stream, "PNG")
    image = fit(stream.getvalue(), reencode="webp", max_side=100)
    assert image.format == "WEBP"
    # A PNG needs no other format, so make it smaller to see its values.
    wide = io.BytesIO()
    PIL.Image.fromarray(deep.repeat(20, 1).repeat(20, 0)).save(wide, "PNG")
    image = fit(wide.getvalue(), max_side=50)
    assert (image.mode, image.size) == ("L", (50, 20))
    assert np.asarray(image)[10, 5::10].tolist() == [0, 0, 1, 128, 255]


def test_alpha_stays_or_gets_a_white_ground():
    clear = PIL.Image.new("RGBA", (8, 8), (0, 0, 200, 0))
    clear.paste((200, 0, 0, 255), (0, 0, 4, 8))
    stream = io.BytesIO()
    clear.save(stream, "PNG")
    image = np.asarray(fit(stream.getvalue(), reencode="jpeg", jpeg_quality=95), int)
    np.testing.assert_allclose(image[4, 6], 255, atol=8)
    np.testing.assert_allclose(image[4, 1], (200, 0, 0), atol=8)
    small = np.asarray(fit(stream.getvalue(), max_side=4), int)
    assert small[2, 3, 3] == 0
    np.testing.assert_allclose(small[2, 0], (200, 0, 0, 255), atol=8)


def test_rotated_photos_stand_upright():
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # Turned to the left: to be shown turned to the right.
    photo = encoded("JPEG", exif=exif)
    assert fit(photo, max_side=30).size == (20, 30)
    assert fit_image(photo, "a", BuildOptions(max_side=60)) is photo


def test_first_frame_of_an_animation():
    other = PIL.Image.new("RGB", (60, 40), "red")
    image = fit(
        encoded("GIF", save_all=True, append_images=[other]),
        max_side=60,
        reencode="png",
    )
    assert getattr(image, "n_frames", 1) == 1
    assert np.abs(np.asarray(image.convert("RGB"), float) - PIXELS).mean() < 12


@pytest.mark.parametrize(
    "options, name, message",
    [
        ({"min_side": 41}, "min_side", "'a' has 60 x 40 pixels.*at least 41"),
        ({"max_aspect_ratio": 1.4}, "max_aspect_ratio", "60 x 40 pixels.*1.4 times"),
    ],
)
def test_sizes_that_are_not_wanted(options, name, message):
    with pytest.raises(LeftOut, match=message) as info:
        fit_image(encoded("PNG"), "a", BuildOptions(**options))
    assert info.value.filter == name


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_images_cut_short_are_named(kind):
    broken = encoded(kind)[:-40]
    with pytest.raises(ValueError, match=r"'a' cannot be decoded.*fetch it again"):
        fit_image(broken, "a", BuildOptions(max_side=10))
