"""Paths of layers that do not depend on what else was built before."""

import collections
import re

import keras

from kmmft.finetuning.adapters.adapted_layer import AdaptedLayer
from kmmft.finetuning.named_parts import named_layers, named_variables


def stable_layer_paths(model: keras.Model) -> dict[str, str]:
    """The stable path of each layer, by its path.

    Keras numbers layers without a name through the whole process: `dense_7`. Here they
    are numbered among the layers of their parent, so that a model that is built again
    has the same paths.
    """
    stable, counts = {"": ""}, collections.Counter()
    for path, layer in named_layers(model).items():
        parent, _, name = path.rpartition("/")
        stem = _snake_case(_own_class(layer).__name__)
        if re.fullmatch(rf"{re.escape(stem)}(_\d+)?", name):
            number = counts[parent, stem]
            counts[parent, stem] += 1
            name = f"{stem}_{number}" if number else stem
        stable[path] = f"{stable.get(parent, parent)}/{name}".lstrip("/")
    return stable


def stable_weight_paths(model: keras.Model) -> dict[str, str]:
    """The stable path of each weight, by its path."""
    layers = stable_layer_paths(model)
    stable = {}
    for path in named_variables(model):
        layer, _, name = path.rpartition("/")
        stable[path] = f"{layers.get(layer, layer)}/{name}".lstrip("/")
    return stable


def _own_class(layer: keras.layers.Layer) -> type:
    return layer.own_class if isinstance(layer, AdaptedLayer) else type(layer)


def _snake_case(name: str) -> str:
    """As Keras makes names of classes."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
