"""Frozen encoders: no dropout in them, and frozen again after they were saved."""

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


class FrozenInference:
    """Mixin for a `keras.Model`: frozen, it gives the same in training as in use."""

    def call(self, inputs, training=None, mask=None, **kwargs):
        training = training and self.trainable
        return super().call(inputs, training=training, mask=mask, **kwargs)
