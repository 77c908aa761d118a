"""The images beside the texts, where there are any."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

import kmmft

from .settings import Config


def reads_images(config: Config, source: kmmft.data.RecordSource) -> bool:
    """Whether the records have images, and the model is to read them."""
    return config.use_image and "image" in source.features


def image_encoder(
    config: Config, source: kmmft.data.RecordSource
) -> kmmft.encoders.ImageEncoder | None:
    """The encoder of the images, or None for texts alone."""
    if not reads_images(config, source):
        return None
    encoder = kmmft.encoders.ImageEncoder.from_preset(
        config.image_encoder, image_size=config.image_size
    )
    encoder.trainable = config.train_image_encoder
    return encoder


def mirroring(config: Config, source: kmmft.data.RecordSource) -> Callable | None:
    """The `augment` of training data: a mirror at random, if it is asked for."""
    if not (config.horizontal_flip and reads_images(config, source)):
        return None
    flip = kmmft.data.ImageAugmentation(
        crop_area=(1, 1), brightness=0.0, contrast=0.0, saturation=0.0
    )
    return lambda record, seed: {**record, "image": flip(record["image"], seed)}


def without_images(images: list[bytes] | None) -> dict[str, list[bytes]]:
    """What is put in the images' places to see what they are worth.

    Args:
        images: Encoded images of a split, if the model reads any.

    Returns:
        By name: as many grey ones, and those of others.
    """
    if images is None:
        return {}
    grey = tf.io.encode_png(np.full((32, 32, 3), 127, np.uint8)).numpy()
    return {
        "grey_images": [grey] * len(images),
        "images_of_others": [*images[1:], *images[:1]],
    }
