"""Keeps the statistics that an encoder was pretrained with."""

import keras


def freeze_batch_norm(encoder: keras.Model) -> list[keras.layers.Layer]:
    """Freezes an encoder's BatchNorm layers; everything else trains on.

    They then normalise by the statistics of the pretraining, in training too. With few
    examples those of a batch are worse, and the shift hurts all later layers.

    Args:
        encoder: An encoder, or any model. It is changed; compile it afterwards.

    Returns:
        The layers that were frozen.

    Example:
        >>> model = keras.Sequential(
        ...     [keras.Input((2,)), keras.layers.BatchNormalization()])
        >>> len(kmmft.encoders.freeze_batch_norm(model)), model.trainable_variables
        (1, [])
    """
    frozen = [
        layer
        for layer in encoder._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    for layer in frozen:
        layer.trainable = False
    return frozen
