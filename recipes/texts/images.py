"""The images beside the texts, where there are any."""

import logging
from collections.abc import Callable

import numpy as np
import tensorflow as tf

import kmmft
from tfrecords_tools.image_bytes import check_image

from .records import all_records
from .settings import Config

_logger = logging.getLogger(__name__)


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


def image_fusion(config: Config) -> kmmft.layers.CrossAttentionFusion:
    """Where the text's tokens attend to the image's, for one answer a text."""
    return kmmft.layers.CrossAttentionFusion(
        config.hidden_dim,
        query="text",
        num_layers=config.num_layers,
        num_heads=config.num_heads,
    )


def mirroring(config: Config, source: kmmft.data.RecordSource) -> Callable | None:
    """The `augment` of training data: a mirror at random, if it is asked for."""
    if not (config.horizontal_flip and reads_images(config, source)):
        return None
    flip = kmmft.data.ImageAugmentation(
        crop_area=(1, 1), brightness=0.0, contrast=0.0, saturation=0.0
    )
    return lambda record, seed: {**record, "image": flip(record["image"], seed)}


def readable_records(
    config: Config, source: kmmft.data.RecordSource, split: str
) -> list[dict]:
    """The records of a split that can be read, and whose images can, if they are.

    Raises:
        ValueError: If more than `max_bad_fraction` of the images cannot be decoded.
    """
    records = all_records(config, source, split)
    if not reads_images(config, source):
        return records
    good, faults = [], []
    for record in records:
        try:
            check_image(record["image"], record["id"])
            good.append(record)
        except ValueError as error:
            _logger.warning("Left out of %s: %s", split, error)
            faults.append(str(error))
    if len(faults) > config.max_bad_fraction * len(records) or not good:
        raise ValueError(
            f"At most {config.max_bad_fraction:g} of the images of {split} may be bad "
            f"(`--max_bad_fraction`). Received: {len(faults)} of {len(records)}, the "
            f"first: {faults[0]}"
        )
    return good


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
