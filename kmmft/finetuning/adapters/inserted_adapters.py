"""What a model remembers about the adapters in it."""

import functools

import keras
import numpy as np

from kmmft.finetuning.adapters.adapted_layer import adapted_layers, not_saved_whole
from kmmft.finetuning.named_parts import named_layers


class InsertedAdapters:
    """The adapters in a model, and the weights of those sets that are not in use.

    Attributes:
        entries: Each adapter and the paths of the layers that it was given, in order.
        values: By name of a set, the weights that it sets, by path.
        base: The model's own values of weights that some set changes, by path. `None`
            if nobody noted them before they were trained.
        active: Name of the set whose weights the model has now; `None` for the base.
    """

    def __init__(self):
        self.entries: list[tuple[object, list[str]]] = []
        self.values: dict[str, dict[str, np.ndarray]] = {}
        self.base: dict[str, np.ndarray] | None = None
        self.active: str | None = "default"


def remember(model: keras.Model, adapter, paths: list[str]) -> None:
    """Notes an adapter that was put into a model, and lets nobody save it without."""
    if not hasattr(model, "inserted_adapters"):
        model.inserted_adapters = InsertedAdapters()
    model.inserted_adapters.entries.append((adapter, paths))
    for part in _models(model):
        # On the object: an encoder within the model may be saved alone.
        part.get_config = functools.partial(_checked_config, part)
    forget_graphs(model)


def inserted_adapters(model: keras.Model) -> InsertedAdapters:
    """What the model remembers.

    Raises:
        ValueError: If it has no adapters, or they are merged.
    """
    if any(hasattr(x, "merged_adapter") for x in named_layers(model).values()):
        raise ValueError(
            "Merged adapters can be neither saved nor changed. Received: "
            f"{model.name!r}. Call `unmerge_adapters` first."
        )
    if not hasattr(model, "inserted_adapters"):
        raise ValueError(
            f"The model must have adapters. Received: {model.name!r} without. Apply a "
            "plan with a rule that has one, or call `load_adapters`."
        )
    return model.inserted_adapters


def forget_graphs(model: keras.Model) -> None:
    """Lets graphs be traced again that know the layers as they were."""
    for part in _models(model):
        part.train_function = part.test_function = part.predict_function = None
        if hasattr(part, "forget_graphs"):
            part.forget_graphs()


def _models(model: keras.Model) -> list[keras.Model]:
    layers = named_layers(model).values()
    return [model, *(layer for layer in layers if isinstance(layer, keras.Model))]


def _checked_config(model: keras.Model) -> dict:
    if adapted_layers(named_layers(model)):
        raise not_saved_whole(model.name)
    return type(model).get_config(model)
