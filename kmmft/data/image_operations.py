"""The operations of RandAugment on one image, as Pillow defines them.

Images are float32 `(height, width, 3)` in [0, 255]. What Pillow looks up in a table of
256 values is looked up here too, after rounding.
"""

import tensorflow as tf

# Rec. 601, as Pillow turns colours into grey.
_GREY_WEIGHTS = (0.299, 0.587, 0.114)
# `ImageFilter.SMOOTH`, which `ImageEnhance.Sharpness` blends with.
_SMOOTH = ((1, 1, 1), (1, 5, 1), (1, 1, 1))


def blend(first: tf.Tensor, second: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """`ImageEnhance`: the first image for 0, the second for 1, and beyond."""
    return tf.clip_by_value(first + factor * (second - first), 0.0, 255.0)


def brightness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """`ImageEnhance.Brightness`: black for 0, the image for 1."""
    return blend(tf.zeros_like(image), image, factor)


def saturation(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """`ImageEnhance.Color`: grey for 0, the image for 1."""
    return blend(_grey(image), image, factor)


def contrast(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """`ImageEnhance.Contrast`: the mean grey for 0, the image for 1."""
    return blend(tf.round(tf.reduce_mean(tf.round(_grey(image)))), image, factor)


def sharpness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """`ImageEnhance.Sharpness`: smoothed for 0, the image for 1; edges stay."""
    kernel = tf.constant(_SMOOTH, tf.float32) / 13
    kernel = tf.tile(kernel[:, :, tf.newaxis, tf.newaxis], (1, 1, 3, 1))
    inner = tf.nn.depthwise_conv2d(image[tf.newaxis], kernel, (1, 1, 1, 1), "VALID")[0]
    inner = blend(inner, image[1:-1, 1:-1], factor)
    middle = tf.concat([image[1:-1, :1], inner, image[1:-1, -1:]], 1)
    return tf.concat([image[:1], middle, image[-1:]], 0)


def posterize(image: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """`ImageOps.posterize`: keeps the highest `bits` of 8."""
    step = tf.cast(tf.bitwise.left_shift(1, 8 - bits), tf.float32)
    return tf.floor(tf.round(image) / step) * step


def solarize(image: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    """`ImageOps.solarize`: inverts all values from `threshold` on."""
    image = tf.round(image)
    return tf.where(image < threshold, image, 255.0 - image)


def autocontrast(image: tf.Tensor) -> tf.Tensor:
    """`ImageOps.autocontrast`: stretches each channel to the full range."""
    image = tf.round(image)
    low = tf.reduce_min(image, axis=(0, 1))
    high = tf.reduce_max(image, axis=(0, 1))
    scale = tf.math.divide_no_nan(255.0, high - low)
    stretched = tf.floor((image - low) * scale + 1e-3)
    return tf.where(high > low, tf.clip_by_value(stretched, 0.0, 255.0), image)


def equalize(image: tf.Tensor) -> tf.Tensor:
    """`ImageOps.equalize`: makes all values of each channel as frequent."""
    levels = tf.cast(tf.round(image), tf.int32)
    channels = [_equalize_channel(channel) for channel in tf.unstack(levels, axis=-1)]
    return tf.cast(tf.stack(channels, axis=-1), tf.float32)


def transform(
    image: tf.Tensor, matrix: tf.Tensor, interpolation: str, fill: float
) -> tf.Tensor:
    """`Image.transform` with `AFFINE`.

    Args:
        image: The image.
        matrix: float32 `(6,)`: a pixel's centre (x, y) in the result comes from
            (a x + b y + c, d x + e y + f) in the image.
        interpolation: `"nearest"` or `"bilinear"`.
        fill: Value of what comes from outside.

    Returns:
        The transformed image.
    """
    a, b, c, d, e, f = tf.unstack(matrix)
    # Pillow's pixels have their centres at halves, TensorFlow's at whole numbers.
    c += (a + b - 1) / 2
    f += (d + e - 1) / 2
    zero = tf.zeros(())
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[tf.newaxis],
        transforms=tf.stack([a, b, c, d, e, f, zero, zero])[tf.newaxis],
        output_shape=tf.shape(image)[:2],
        fill_value=fill,
        interpolation=interpolation.upper(),
        fill_mode="CONSTANT",
    )[0]


def _equalize_channel(levels: tf.Tensor) -> tf.Tensor:
    counts = tf.math.bincount(tf.reshape(levels, [-1]), minlength=256, maxlength=256)
    total = tf.reduce_sum(counts)
    last = tf.reduce_max(tf.where(counts > 0, counts * 0 + tf.range(256), 0))
    step = (total - counts[last]) // 255
    table = (tf.cumsum(counts, exclusive=True) + step // 2) // tf.maximum(step, 1)
    table = tf.where(step > 0, tf.minimum(table, 255), tf.range(256))
    return tf.gather(table, levels)


def _grey(image: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(image * _GREY_WEIGHTS, axis=-1, keepdims=True)
