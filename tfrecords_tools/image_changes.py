"""Makes images smaller, and changes their format, where that is asked for."""

import io
from typing import TYPE_CHECKING

from tfrecords_tools.bad_rows import LeftOut
from tfrecords_tools.build_options import BuildOptions
from tfrecords_tools.image_bytes import opened_image

if TYPE_CHECKING:
    import PIL.Image

_FORMATS = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP"}


def fit_image(encoded: bytes, name: str, options: BuildOptions) -> bytes:
    """Refuses an image by its size, or makes it what the options want.

    An image that needs no change keeps its bytes. One that is made smaller keeps its
    format if it is JPEG, PNG or WebP; GIF and BMP become PNG. Written anew, it stands
    upright as its EXIF data say, has 8 bits a channel and no more than RGB and alpha;
    JPEG, which has no alpha, gets a white ground. Of an animation the first frame is
    taken.

    Args:
        encoded: The image.
        name: What errors call it.
        options: What is wanted.

    Returns:
        JPEG, PNG or WebP bytes, or what was given.

    Raises:
        LeftOut: If its size is not wanted.
        ValueError: If it must be changed and cannot be decoded.

    Example:
        >>> import io, PIL.Image
        >>> stream = io.BytesIO()
        >>> PIL.Image.new("RGB", (400, 300)).save(stream, "PNG")
        >>> small = fit_image(stream.getvalue(), "a", BuildOptions(max_side=100))
        >>> PIL.Image.open(io.BytesIO(small)).size
        (100, 75)
    """
    try:
        with opened_image(encoded) as image:
            _check_size(image.size, name, options)
            wanted = _FORMATS.get(options.reencode, image.format)
            too_large = options.max_side and max(image.size) > options.max_side
            if wanted == image.format and not too_large:
                return encoded
            if wanted not in _FORMATS.values():
                wanted = "PNG"
            return _written(
                plain_image(image, options.max_side, wanted), wanted, options
            )
    except LeftOut:
        raise
    except Exception as error:  # Decoders raise almost anything on broken files.
        raise ValueError(
            f"The image {name!r} cannot be decoded ({error}); it may be cut short: "
            "fetch it again."
        ) from error


def _check_size(size: tuple[int, int], name: str, options: BuildOptions) -> None:
    found = f"The image {name!r} has {size[0]} x {size[1]} pixels"
    if options.min_side and min(size) < options.min_side:
        reason = f"{found}; its shorter side must be at least {options.min_side}."
        raise LeftOut("min_side", reason)
    ratio = options.max_aspect_ratio
    if ratio and max(size) > ratio * min(size):
        reason = f"{found}; the longer side may be {ratio:g} times the shorter."
        raise LeftOut("max_aspect_ratio", reason)


def plain_image(
    image: "PIL.Image.Image", max_side: int | None, image_format: str
) -> "PIL.Image.Image":
    """The image upright, small enough, in a mode that the format and training know.

    Args:
        image: The image, its pixels perhaps not read yet.
        max_side: Most pixels of its longer side.
        image_format: `JPEG`, `PNG` or `WEBP`.

    Returns:
        An image with mode `L`, `RGB` or, but for JPEG, `RGBA`.
    """
    import PIL.Image
    import PIL.ImageOps

    # Lets the JPEG decoder leave out what would be thrown away.
    if max_side:
        image.draft(None, (2 * max_side, 2 * max_side))
    image = PIL.ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        # `convert` would cut 16 bits off at 255.
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if image.mode not in ("L", "RGB"):
        alpha = image.has_transparency_data
        image = image.convert("RGBA" if alpha else "L" if image.mode == "1" else "RGB")
    if image.mode == "RGBA" and image_format == "JPEG":
        white = PIL.Image.new("RGBA", image.size, "white")
        image = PIL.Image.alpha_composite(white, image).convert("RGB")
    if max_side:
        image.thumbnail((max_side, max_side), PIL.Image.Resampling.LANCZOS)
    return image


def _written(
    image: "PIL.Image.Image", image_format: str, options: BuildOptions
) -> bytes:
    stream = io.BytesIO()
    quality = {} if image_format == "PNG" else {"quality": options.jpeg_quality}
    image.save(stream, image_format, **quality)
    return stream.getvalue()
