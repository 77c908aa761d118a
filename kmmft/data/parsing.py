"""One serialised record to tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


def parse_record(
    serialized: tf.Tensor, features: tfds.features.FeaturesDict
) -> dict[str, tf.Tensor]:
    """Parses one record. Images, and sequences of them, stay encoded bytes.

    Args:
        serialized: scalar string tensor.
        features: Features of the record.

    Returns:
        dict of tensors, one for each feature.
    """
    import tensorflow_datasets as tfds

    skip, read_as = {}, dict(features.items())
    for name, feature in features.items():
        if isinstance(feature, tfds.features.Image):
            skip[name] = tfds.decode.SkipDecoding()
        elif isinstance(getattr(feature, "feature", None), tfds.features.Image):
            # To skip the decoding of frames, TFDS would call a function for each.
            read_as[name] = tfds.features.Sequence(tfds.features.Text())
    read_features = tfds.features.FeaturesDict(read_as)
    return read_features.deserialize_example(serialized, decoders=skip)
