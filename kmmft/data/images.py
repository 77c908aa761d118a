"""Encoded image bytes to pixels, in graph: in `tf.data` and in exported models."""

import functools

import tensorflow as tf

from kmmft.data.image_headers import has, read_header, unsupported

RESIZE_MODES = ("crop", "pad", "stretch")
KERNELS = {"bilinear": "triangle", "bicubic": "keyscubic"}


def decode_image(
    encoded: tf.Tensor,
    image_size: int | tuple[int, int],
    resize_mode: str = "crop",
    interpolation: str = "bilinear",
) -> tf.Tensor:
    """Decodes one image and brings it to a fixed size.

    Reads JPEG (also grey and CMYK), PNG (8 and 16 bit, grey, palette, with or
    without alpha), WebP, GIF (first frame), 24 and 32 bit BMP, and JPEG XL. Alpha is
    composited over white, grey becomes RGB. Resizing is antialiased; an image that
    has the wanted size is left as it is. A GIF's transparent colour is drawn as it
    stands in the palette, and EXIF orientation is not applied.

    Args:
        encoded: scalar string tensor, the bytes of the file.
        image_size: Height and width, or one number for both.
        resize_mode: `"crop"` scales until the image covers the size and keeps the
            centre; `"pad"` scales until it fits and fills the rest with white;
            `"stretch"` changes the aspect ratio.
        interpolation: `"bilinear"` or `"bicubic"`.

    Returns:
        float32 tensor `(height, width, 3)` in [0, 255].

    Raises:
        ValueError: If `image_size`, `resize_mode` or `interpolation` is not valid.
        tf.errors.InvalidArgumentError: When the bytes are no readable image, or are
            of a kind that TensorFlow decodes wrongly (animated WebP, palette BMP).

    Example:
        >>> png = tf.io.encode_png(tf.zeros((40, 60, 3), tf.uint8))
        >>> kmmft.data.decode_image(png, image_size=32).shape
        TensorShape([32, 32, 3])
    """
    size = checked_size(image_size)
    _check_choice("resize_mode", resize_mode, RESIZE_MODES)
    _check_choice("interpolation", interpolation, tuple(KERNELS))
    with tf.name_scope("decode_image"):
        pixels, full_size = over_white(encoded, size)
        kernel = KERNELS[interpolation]
        resized = tf.cond(
            tf.reduce_all(tf.shape(pixels)[:2] == size),
            lambda: tf.cast(pixels, tf.float32),
            lambda: _resize(pixels, full_size, size, resize_mode, kernel),
        )
        # Bicubic overshoots at edges; bilinear only by rounding errors.
        resized = tf.clip_by_value(resized, 0.0, 255.0)
        # One channel (grey) is repeated here, when it is small.
        return tf.ensure_shape(tf.broadcast_to(resized, (*size, 3)), (*size, 3))


def decode_images(
    encoded: tf.Tensor,
    image_size: int | tuple[int, int],
    resize_mode: str = "crop",
    interpolation: str = "bilinear",
) -> tf.Tensor:
    """Decodes a batch of images; see `decode_image`.

    Meant for exported models, which receive batches of encoded images. In `tf.data`,
    decode one by one, so that one bad image can be skipped.

    Args:
        encoded: string tensor `(batch,)`, the bytes of the files.
        image_size: Height and width, or one number for both.
        resize_mode: `"crop"`, `"pad"` or `"stretch"`.
        interpolation: `"bilinear"` or `"bicubic"`.

    Returns:
        float32 tensor `(batch, height, width, 3)` in [0, 255].

    Example:
        >>> png = tf.io.encode_png(tf.zeros((40, 60, 3), tf.uint8))
        >>> kmmft.data.decode_images(tf.stack([png, png]), (32, 48)).shape
        TensorShape([2, 32, 48, 3])
    """
    size = checked_size(image_size)
    return tf.map_fn(
        lambda one: decode_image(one, size, resize_mode, interpolation),
        encoded,
        fn_output_signature=tf.TensorSpec((*size, 3), tf.float32),
    )


def _decode_jpeg(
    encoded: tf.Tensor, size: tuple[int, int]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes a large JPEG at 1/2, 1/4 or 1/8 of its size, which is much faster.

    The result is still twice as large as wanted, or larger, in both directions, so
    that it is nearly what resizing from the full size gives.
    """
    full_size = tf.io.extract_jpeg_shape(encoded)[:2]
    spare = full_size // (2 * tf.constant(size))
    level = tf.reduce_sum(tf.cast(tf.reduce_min(spare) >= [2, 4, 8], tf.int32))
    branches = [
        functools.partial(tf.io.decode_jpeg, encoded, ratio=ratio)
        for ratio in (1, 2, 4, 8)
    ]
    return tf.switch_case(level, branches), full_size


def _with_size(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return pixels, tf.shape(pixels)[:2]


def over_white(
    encoded: tf.Tensor, size: tuple[int, int]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes an image; alpha is composited over white.

    Args:
        encoded: scalar string tensor, the bytes of the file.
        size: Height and width that it will be scaled to.

    Returns:
        uint8 pixels `(height, width, 1 or 3)`, and the size of the image in the file,
        which may be larger.
    """
    header = read_header(encoded)
    checks = [
        tf.debugging.Assert(~is_so, [text])
        for text, is_so in unsupported(header).items()
    ]
    # The decoder writes past its buffer on an animated WebP, so the checks come first.
    with tf.control_dependencies([check for check in checks if check is not None]):
        encoded = tf.identity(encoded)
    # Asking for four channels applies the transparent colour that a grey or RGB PNG
    # may name. Under eight bits a channel, the decoder fills in a wrong alpha.
    is_png = has(header, 0, b"\x89PNG") & (header[24] >= 8)
    is_jpeg = has(header, 0, b"\xff\xd8\xff")
    pixels, full_size = tf.switch_case(
        tf.where(is_png, 1, tf.where(is_jpeg, 2, 0)),
        [
            lambda: _with_size(tf.io.decode_image(encoded, expand_animations=False)),
            lambda: _with_size(tf.io.decode_png(encoded, channels=4)),
            lambda: _decode_jpeg(encoded, size),
        ],
    )
    pixels = tf.ensure_shape(pixels, (None, None, None))
    channels = tf.shape(pixels)[-1]
    colours = tf.where(channels <= 2, 1, 3)
    # The fourth byte of a BMP pixel is mostly padding, and then zero.
    has_alpha = (channels % 2 == 0) & ~has(header, 0, b"BM")
    pixels = tf.cond(
        has_alpha & tf.reduce_any(pixels[..., -1] < 255),
        lambda: _composite_over_white(pixels[..., :colours], pixels[..., -1:]),
        lambda: pixels[..., :colours],
    )
    return pixels, full_size


def _composite_over_white(colour: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
    """The nearest integer of `(colour * alpha + 255 * (255 - alpha)) / 255`."""
    colour, alpha = tf.cast(colour, tf.uint16), tf.cast(alpha, tf.uint16)
    return tf.cast((colour * alpha + 255 * (255 - alpha) + 127) // 255, tf.uint8)


def _resize(
    pixels: tf.Tensor,
    full_size: tf.Tensor,
    size: tuple[int, int],
    resize_mode: str,
    kernel: str,
) -> tf.Tensor:
    """Scales, and cuts or fills the rest, in one pass over the wanted pixels only."""
    new = _scaled_size(full_size, size, resize_mode)
    # What was decoded at 1/8 has a last pixel that stands for 1 to 8 of the file.
    ratio = tf.round(full_size / tf.shape(pixels)[:2])
    scale = tf.cast(new / full_size * ratio, tf.float32)
    offset = -((new - size) // 2)
    resized = scale_and_cut(pixels, size, scale, tf.cast(offset, tf.float32), kernel)
    if resize_mode != "pad":
        return resized
    rows, columns = (tf.range(length) - offset[i] for i, length in enumerate(size))
    inside_rows = (rows >= 0) & (rows < new[0])
    inside_columns = (columns >= 0) & (columns < new[1])
    inside = inside_rows[:, tf.newaxis] & inside_columns[tf.newaxis]
    return tf.where(inside[..., tf.newaxis], resized, 255.0)


def scale_and_cut(
    pixels: tf.Tensor,
    size: tuple[int, int],
    scale: tf.Tensor,
    offset: tf.Tensor,
    kernel: str,
) -> tf.Tensor:
    """Scales an image with antialiasing, moves it, and computes `size` pixels of it.

    Args:
        pixels: tensor `(height, width, channels)`.
        size: Height and width of the result.
        scale: float32 `(2,)`, by which height and width are multiplied.
        offset: float32 `(2,)`, where the scaled image begins in the result.
        kernel: A kernel of `tf.raw_ops.ScaleAndTranslate`.

    Returns:
        float32 tensor `(*size, channels)`.
    """
    return tf.raw_ops.ScaleAndTranslate(
        images=pixels[tf.newaxis],
        size=size,
        scale=scale,
        translation=offset,
        kernel_type=kernel,
        antialias=True,
    )[0]


def _scaled_size(old: tf.Tensor, size: tuple[int, int], resize_mode: str) -> tf.Tensor:
    """Height and width of the whole scaled image, in whole pixels."""
    if resize_mode == "stretch":
        return tf.constant(size)
    by_height = tf.stack([size[0], tf.maximum(old[1] * size[0] // old[0], 1)])
    by_width = tf.stack([tf.maximum(old[0] * size[1] // old[1], 1), size[1]])
    covers = size[0] * old[1] >= size[1] * old[0]
    return tf.where(covers == (resize_mode == "crop"), by_height, by_width)


def checked_size(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width; raises a ValueError unless they are positive."""
    size = (image_size,) * 2 if isinstance(image_size, int) else tuple(image_size)
    if len(size) != 2 or any(int(length) != length or length < 1 for length in size):
        raise ValueError(
            "`image_size` must be one or two positive whole numbers. "
            f"Received: image_size={image_size}. Pass (height, width)."
        )
    return int(size[0]), int(size[1])


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {', '.join(choices)}. "
            f"Received: {name}={value!r}. Choose one of them."
        )
