"""A random part of an encoded image, decoded and resized in one go."""

import math

import tensorflow as tf

from kmmft.data.images import checked_size, over_white, scale_and_cut

# libjpeg smooths colours over the columns beside a window, so one more is decoded.
_MARGIN = 1


def decode_random_crop(
    encoded: tf.Tensor,
    image_size: int | tuple[int, int],
    draws: tf.Tensor,
    crop_area: tuple[float, float] = (0.35, 1.0),
    crop_aspect_ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> tf.Tensor:
    """Decodes a random window of an image and scales it to a fixed size.

    Of a JPEG only what lies in the window is decoded, at 1/2, 1/4 or 1/8 of its size
    where the window stays at least as large as the result (it then begins and ends at
    multiples of that); the rest of the way is bilinear. Its pixels are the ones that
    decoding all and cutting gives. Other formats are decoded whole and scaled with
    antialiasing. Reads what `decode_image` does.

    Unlike torchvision, which draws again when a window does not fit and takes the
    middle in the end, a window that does not fit is made smaller: no aspect ratio
    outside the range comes out, however long the image.

    Args:
        encoded: scalar string tensor, the bytes of the file.
        image_size: Height and width, or one number for both.
        draws: float tensor `(4,)` in [0, 1): how large, how wide, and where (top,
            left). `ImageAugmentation.decode` draws them from a seed.
        crop_area: Smallest and largest part of the image's area.
        crop_aspect_ratio: Smallest and largest width / height, relative to that of
            `image_size`.

    Returns:
        float32 tensor `(height, width, 3)` in [0, 255].

    Raises:
        ValueError: If `image_size` is not valid.
        tf.errors.InvalidArgumentError: When the bytes are no readable image.

    Example:
        >>> jpeg = tf.io.encode_jpeg(tf.zeros((40, 60, 3), tf.uint8))
        >>> draws = tf.random.stateless_uniform((4,), seed=(0, 7))
        >>> kmmft.data.decode_random_crop(jpeg, 32, draws).shape
        TensorShape([32, 32, 3])

    References:
        - [Szegedy et al., 2014](https://arxiv.org/abs/1409.4842), section 6 (crops).
    """
    size = checked_size(image_size)
    draws = tf.unstack(tf.ensure_shape(tf.cast(draws, tf.float32), (4,)))

    def window(full_size: tf.Tensor) -> tf.Tensor:
        return crop_window(full_size, size, draws, crop_area, crop_aspect_ratio)

    # Not inlined: the hundreds of nodes of a branch that is not taken cost time, too.
    @tf.function(autograph=False, experimental_attributes={"_noinline": True})
    def decode_whole(encoded: tf.Tensor) -> tf.Tensor:
        pixels, _ = over_white(encoded, size)
        box = window(tf.shape(pixels)[:2])
        scale = tf.constant(size, tf.float32) / tf.cast(box[2:], tf.float32)
        offset = -tf.cast(box[:2], tf.float32) * scale
        scaled = scale_and_cut(pixels, size, scale, offset, "triangle")
        return tf.broadcast_to(scaled, (*size, 3))

    is_jpeg = tf.strings.substr(encoded, 0, 3) == b"\xff\xd8\xff"
    with tf.name_scope("decode_random_crop"):
        image = tf.cond(
            is_jpeg,
            lambda: _decode_jpeg(encoded, size, window),
            lambda: decode_whole(encoded),
        )
        return tf.ensure_shape(tf.clip_by_value(image, 0.0, 255.0), (*size, 3))


def crop_window(
    full_size: tf.Tensor,
    size: tuple[int, int],
    draws: list[tf.Tensor],
    crop_area: tuple[float, float],
    crop_aspect_ratio: tuple[float, float],
) -> tf.Tensor:
    """Where the window is, int32 `(top, left, height, width)`, in whole pixels."""
    full = tf.cast(full_size, tf.float32)
    low, high = crop_area
    area = (low + draws[0] * (high - low)) * full[0] * full[1]
    low, high = (math.log(limit) for limit in crop_aspect_ratio)
    ratio = tf.exp(low + draws[1] * (high - low)) * (size[1] / size[0])
    wanted = tf.sqrt(tf.stack([area / ratio, area * ratio]))
    wanted *= tf.minimum(1.0, tf.reduce_min(full / wanted))
    sides = tf.clip_by_value(tf.cast(tf.round(wanted), tf.int32), 1, full_size)
    room = tf.cast(full_size - sides + 1, tf.float32)
    # A product may round up to the whole number that it must stay below.
    corner = tf.minimum(
        tf.cast(tf.stack(draws[2:]) * room, tf.int32), full_size - sides
    )
    return tf.concat([corner, sides], 0)


def _decode_jpeg(encoded: tf.Tensor, size: tuple[int, int], window) -> tf.Tensor:
    full_size = tf.io.extract_jpeg_shape(encoded)[:2]
    box = window(full_size)
    spare = tf.reduce_min(box[2:] // tf.constant(size))
    level = tf.reduce_sum(tf.cast(spare >= [2, 4, 8], tf.int32))
    scaled_size = -(-full_size // 2**level)
    box //= 2**level
    start = tf.maximum(box[:2] - _MARGIN, 0)
    end = tf.minimum(box[:2] + box[2:] + _MARGIN, scaled_size)
    decoded = tf.concat([start, end - start], 0)

    def decode(ratio: int):
        return lambda: tf.image.decode_and_crop_jpeg(
            encoded, decoded, channels=3, ratio=ratio
        )

    pixels = tf.switch_case(level, [decode(ratio) for ratio in (1, 2, 4, 8)])
    pixels = tf.slice(
        pixels,
        tf.pad(box[:2] - start, [[0, 1]]),
        tf.pad(box[2:], [[0, 1]], constant_values=3),
    )
    # Now less than twice as large as wanted, where two pixels each way are enough.
    return tf.image.resize(pixels, size)
