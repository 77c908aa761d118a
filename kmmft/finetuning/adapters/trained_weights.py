"""Which weights belong to adapters, and to what was trained beside them."""

import keras

from kmmft.finetuning.adapters.adapted_layer import adapted_layers
from kmmft.finetuning.named_parts import named_layers, named_variables


def trained_weights(model: keras.Model) -> dict[str, keras.Variable]:
    """Adapters' weights and all else that training changes, by path.

    That is what trains now, such as heads and biases, and the statistics of BatchNorm
    layers that are not frozen.
    """
    layers = named_layers(model).values()
    chosen = {id(weight) for weight in adapter_weights(model).values()}
    chosen |= {id(weight) for weight in model.trainable_variables}
    for layer in layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
            chosen |= {id(weight) for weight in layer._non_trainable_variables}
    return {k: v for k, v in named_variables(model).items() if id(v) in chosen}


def adapter_weights(model: keras.Model) -> dict[str, keras.Variable]:
    """The weights that adapters added, by path."""
    adapted = adapted_layers(named_layers(model)).values()
    chosen = {id(weight) for layer in adapted for weight in layer.adapter_weights()}
    return {k: v for k, v in named_variables(model).items() if id(v) in chosen}
