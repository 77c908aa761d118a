"""Real pictures of many sizes as JPEG: Open Clip Art, and parts of a photograph."""

import io
import os
import pathlib

import matplotlib.cbook
import numpy as np
from PIL import Image

# Of the Debian package `openclipart-png`, in the public domain.
DRAWINGS = pathlib.Path("/usr/share/openclipart/png")


def jpegs(count: int, shortest: int, longest: int, seed: int = 0) -> list[bytes]:
    """Encodes pictures, drawings and parts of a photograph in turns.

    Args:
        count: How many.
        shortest: Smallest length of the longer side.
        longest: Largest length of the longer side.
        seed: Of the choice, the parts and the sizes.

    Returns:
        The files' contents.

    Raises:
        ValueError: If there are no drawings.
    """
    files = [
        os.path.join(folder, name)
        for folder, _, names in os.walk(DRAWINGS)
        for name in names
        if name.endswith(".png") and not os.path.islink(os.path.join(folder, name))
    ]
    # The largest ones would take seconds to decode.
    files = sorted(file for file in files if os.path.getsize(file) < 300_000)
    if not files:
        raise ValueError(
            f"There must be drawings. Received: none in {DRAWINGS}. Run `apt-get "
            "install openclipart-png`."
        )
    random = np.random.default_rng(seed)
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        photograph = Image.open(file).convert("RGB")
    pictures = []
    for number in range(count):
        if number % 2:
            picture = _part(photograph, random)
        else:
            picture = _drawing(files[random.integers(len(files))])
        length = random.integers(shortest, longest + 1)
        scale = length / max(picture.size)
        size = [max(round(side * scale), 32) for side in picture.size]
        encoded = io.BytesIO()
        picture.resize(size).save(encoded, "JPEG", quality=90)
        pictures.append(encoded.getvalue())
    return pictures


def _part(photograph: Image.Image, random: np.random.Generator) -> Image.Image:
    width, height = (round(side * random.uniform(0.5, 1)) for side in photograph.size)
    left = random.integers(photograph.width - width + 1)
    top = random.integers(photograph.height - height + 1)
    return photograph.crop((left, top, left + width, top + height))


def _drawing(path: str) -> Image.Image:
    picture = Image.open(path).convert("RGBA")
    picture.thumbnail((1024, 1024))
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")
