"""Images, videos and sounds as a record holds them: strings of bytes."""

import base64

import keras
import tensorflow as tf

from kmmft.encoders import ImageEncoder

# One white pixel: what stands in for an image that is not there.
_BLANK_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJ"
    "RU5ErkJggg=="
)


def is_present(raw: tf.Tensor) -> tf.Tensor:
    """Which raw inputs are there: those that are not the empty string.

    Args:
        raw: string tensor of any shape, or what is decoded, `(batch, ...)`, which is
            all there.

    Returns:
        bool tensor.
    """
    if raw.dtype == tf.string:
        return tf.strings.length(raw) > 0
    return tf.ones(tf.shape(raw)[:1], bool)


def decode_files(encoder: keras.Model, raw: tf.Tensor, may_miss: bool):
    """Decodes files; those that are missing become white or silent, if they may be.

    Args:
        encoder: Its `preprocess` decodes. An image, video or audio encoder.
        raw: string tensor, a scalar or `(batch,)`; one axis more for frames of videos.
        may_miss: Whether the empty string stands for a missing image or sound, and a
            video without frames for a missing one.

    Returns:
        What `encoder.preprocess` returns.
    """
    blank = getattr(encoder, "blank_file", _BLANK_PNG)
    if may_miss and getattr(encoder, "raw_rank", 0):
        any_frame = tf.reduce_any(is_present(raw), axis=-1, keepdims=True)
        raw = tf.concat([raw, tf.where(any_frame, "", blank)], axis=-1)
    elif may_miss:
        raw = tf.where(is_present(raw), raw, blank)
    return encoder.preprocess(raw)


def reads_files(encoder: keras.Model) -> bool:
    """Whether an encoder's raw inputs are images, videos or sounds."""
    return isinstance(encoder, ImageEncoder) or hasattr(encoder, "input_name")
