import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest

from tfrecords_tools import image_bytes
from tfrecords_tools.image_bytes import check_image, extension_of

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def encoded(image_format, mode="RGB", **options):
    image = PIL.Image.fromarray(PIXELS).convert(mode)
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def png_bomb(width, height):
    """A PNG of a few bytes whose header tells of many pixels."""

    def chunk(kind, data):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize(
    "image",
    [
        encoded("JPEG", "CMYK"),
        encoded("JPEG", "L"),
        encoded("JPEG", progressive=True),
        encoded("PNG", "I;16"),
        encoded("PNG", "LA"),
        encoded("PNG", "P"),
        encoded("PNG", "1"),
        encoded("WEBP", "RGBA", lossless=True),
        encoded(
            "GIF", "P", save_all=True, append_images=[PIL.Image.new("P", (30, 20))]
        ),
    ],
)
def test_what_training_can_read(image):
    check_image(image, "a")


@pytest.mark.parametrize(
    "image, message",
    [
        (b"", "has no bytes"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is an SVG"),
        (encoded("TIFF"), "is a TIFF"),
        (encoded("PNG")[:200], "cannot be decoded"),
        (png_bomb(12_000, 9_000), "12000 x 9000 pixels, of 100,000,000"),
        (png_bomb(60_000, 60_000), "is too large"),
    ],
)
def test_what_training_cannot_read(image, message):
    with pytest.raises(ValueError, match=f"'a.img' {message}|'a.img'.*{message}"):
        check_image(image, "a.img")


def test_larger_images_may_be_allowed(monkeypatch):
    image = png_bomb(12_000, 9_000)
    monkeypatch.setattr(image_bytes, "MAX_PIXELS", 200_000_000)
    check_image(image, "a", decode=False)


def test_endings_of_files():
    kinds = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp"}
    for kind, ending in kinds.items():
        assert extension_of(encoded(kind)) == ending
    assert extension_of(b"text") == "bin"
