"""Reads the encoded bytes of an image, and says what is wrong with a bad one."""

import contextlib
import io
import pathlib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import PIL.Image

# Decoding takes 3 bytes a pixel, or 8. Set it higher to let larger pictures in.
MAX_PIXELS = 100_000_000
EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp")

_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF8": "GIF",
    b"BM": "BMP",
}
# What image files often turn out to be, with what to tell of it.
_FOREIGN = {
    b"II*\0": "a TIFF",
    b"MM\0*": "a TIFF",
    b"<svg": "an SVG",
    b"<?xm": "an XML or SVG file",
    b"<htm": "an HTML page",
    b"<!do": "an HTML page",
    b"%PDF": "a PDF",
    b"vers": "a Git LFS pointer",
}


def read_image(path: pathlib.Path, decode: bool = True) -> bytes:
    """Reads an image file and checks that training can read it too.

    Args:
        path: JPEG, PNG, WebP, GIF or BMP file.
        decode: Decode it whole; otherwise look at the first bytes only.

    Returns:
        The bytes of the file, as they are.

    Raises:
        ValueError: If there is no such file, or it is no readable image.
    """
    try:
        encoded = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(
            f"The image {str(path)!r} does not exist; mend the path."
        ) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ValueError(
            f"The image {str(path)!r} cannot be read ({reason}); mend the path or "
            "the permissions."
        ) from error
    except ValueError as error:  # A path with a NUL character.
        raise ValueError(f"{str(path)!r} is no path ({error}); mend it.") from error
    check_image(encoded, str(path), decode)
    return encoded


def check_image(encoded: bytes, name: str, decode: bool = True) -> None:
    """Checks that training can read an image.

    Args:
        encoded: Its bytes.
        name: What errors call it.
        decode: Decode it whole; otherwise look at the first bytes only.

    Raises:
        ValueError: If it is no readable image.

    Example:
        >>> check_image(b"GIF89a", "cat.gif", decode=False)
    """
    problem = _problem_in_header(encoded)
    if problem:
        raise ValueError(f"The image {name!r} {problem}.")
    _check_size(name, encoded)
    if decode:
        _check_decodes(name, encoded)


def extension_of(encoded: bytes) -> str:
    """How the name of a file with this image ends.

    Example:
        >>> extension_of(b"GIF89a")
        'gif'
    """
    if encoded[:4] == b"RIFF":
        return "webp"
    kinds = [kind for magic, kind in _MAGIC.items() if encoded.startswith(magic)]
    return kinds[0].lower().replace("jpeg", "jpg") if kinds else "bin"


def _problem_in_header(encoded: bytes) -> str | None:
    head = encoded[:32]
    if not head:
        return "has no bytes; fetch the file again"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        # TensorFlow's decoder writes past its buffer on these.
        if head[12:16] == b"VP8X" and len(head) > 20 and head[20] & 2:
            return "is an animated WebP; save its first frame as a still image"
        return None
    if head[:2] == b"BM" and len(head) > 28 and head[28] < 24:
        # TensorFlow takes the palette's indices for colours.
        return "is a BMP with a palette; save it as PNG"
    if any(head.startswith(magic) for magic in _MAGIC):
        return None
    if head[4:8] == b"ftyp":
        kind = "a HEIC, AVIF or video file"
    else:
        kind = _FOREIGN.get(head[:4].lower(), _FOREIGN.get(head[:4]))
    found = f"is {kind}" if kind else f"begins with {head[:8]!r}"
    return f"{found}, not JPEG, PNG, WebP, GIF or BMP; convert it or fetch it again"


@contextlib.contextmanager
def opened_image(encoded: bytes) -> Iterator["PIL.Image.Image"]:
    """The image with its size and format read, but not its pixels.

    Yields:
        Pillow's image.
    """
    import PIL.Image

    with warnings.catch_warnings():
        # Pillow warns below our limit.
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
        image = PIL.Image.open(io.BytesIO(encoded))
    with image:
        yield image


def _check_size(name: str, encoded: bytes) -> None:
    """A few bytes can hold a picture that no memory can; the header tells its size."""
    import PIL.Image

    try:
        with opened_image(encoded) as image:
            width, height = image.size
    except PIL.Image.DecompressionBombError as error:
        raise ValueError(
            f"The image {name!r} is too large ({error}); make it smaller."
        ) from error
    except OSError:
        return  # Whether TensorFlow can decode it is what counts.
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"The image {name!r} has {width} x {height} pixels, of {MAX_PIXELS:,} that "
            "may be; make it smaller (or set tfrecords_tools.image_bytes.MAX_PIXELS)."
        )


def _check_decodes(name: str, encoded: bytes) -> None:
    import tensorflow as tf

    try:
        with tf.device("CPU:0"):
            # Channels as in the file: 3 would refuse grey BMP and alpha in some.
            tf.io.decode_image(encoded, expand_animations=False)
    except tf.errors.OpError as error:
        reason = error.message.split("}}")[-1].split("[Op:")[0].strip()
        raise ValueError(
            f"The image {name!r} cannot be decoded ({reason}); it may be cut "
            "short: fetch it again."
        ) from error
