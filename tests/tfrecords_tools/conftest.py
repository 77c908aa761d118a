"""Small pictures for the data tools."""

import io

import numpy as np
import PIL.Image
import pytest


@pytest.fixture(scope="session")
def encoded_image():
    """Function that encodes a small picture of one grey level."""

    def encode(level: int = 0, image_format: str = "PNG", **options) -> bytes:
        pixels = np.full((6, 8, 3), level, np.uint8)
        pixels[0, 0] = 255
        stream = io.BytesIO()
        PIL.Image.fromarray(pixels).save(stream, image_format, **options)
        return stream.getvalue()

    return encode
