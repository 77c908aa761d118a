"""Encoders that come back from a file as frozen as they were."""

import keras


def freeze_as_configured(model: keras.Model) -> keras.Model:
    """Freezes what is inside a model whose config says that it is frozen.

    Keras restores the flag of the model alone: all variables in it would train in a
    model around it, which asks the variables.

    Args:
        model: Just made from its config.

    Returns:
        The same model.
    """
    for layer in list(model._flatten_layers()):
        if not layer.trainable:
            # Keras passes over an attribute that is set to the value it has.
            layer.trainable = True
            layer.trainable = False
    return model
