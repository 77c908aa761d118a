"""Several sets of adapters on one base, one of them in use."""

import keras

from kmmft.finetuning.adapters.adapted_layer import adapted_layers
from kmmft.finetuning.adapters.inserted_adapters import (
    InsertedAdapters,
    inserted_adapters,
)
from kmmft.finetuning.adapters.trained_weights import trained_weights
from kmmft.finetuning.named_parts import named_layers, named_variables
from kmmft.finetuning.trainability import Trainability


def use_adapter(model: keras.Model, name: str | None) -> None:
    """Gives the model the weights of one of its sets of adapters, or those of its base.

    Only values of weights change: nothing is traced again, and graphs that exist
    already, exported ones left aside, follow. What was trained in the set before is
    kept under its name. Weights that belong to the set are made to train, all others
    are frozen; compile the model before training on.

    Args:
        model: Model into whose base `load_adapters` put one or more sets.
        name: Name of the set; `None` for the base alone.

    Raises:
        ValueError: If there is no such set. For `None`, if the base's own weights are
            not known since the adapters were trained in this model, not loaded, or if
            there are `PrefixTokens`.

    Example:
        >>> def base():
        ...     return keras.Sequential(
        ...         [keras.Input((4,)), keras.layers.Dense(3, name="dense")])
        >>> model = base()
        >>> layers = kmmft.finetuning.named_layers(model)
        >>> weights = kmmft.finetuning.LoRA(rank=2).insert(model, layers)
        >>> kmmft.finetuning.save_adapters(model, "a.safetensors")
        >>> served = base()
        >>> for name in ("a", "b"):
        ...     kmmft.finetuning.load_adapters(served, "a.safetensors", name)
        >>> kmmft.finetuning.use_adapter(served, "a")
    """
    inserted = inserted_adapters(model)
    known = {*inserted.values, inserted.active} - {None}
    if name is not None and name not in known:
        raise ValueError(
            f"`name` must be one of {sorted(known)} or None. Received: {name!r}. Load "
            "it with `load_adapters`."
        )
    if name is None and inserted.base is None:
        raise ValueError(
            "The base's own weights must be known. Received: name=None for a model in "
            "which the adapters were trained. Use `load_adapters` on a fresh base."
        )
    adapted = adapted_layers(named_layers(model)).values()
    if name is None and not all(layer.can_do_nothing for layer in adapted):
        raise ValueError(
            "Prefixes cannot be switched off by their weights: attention must go "
            f"somewhere. Received: name=None for {model.name!r}. Load the base again."
        )
    keep_active(model, inserted)
    if inserted.base is not None:
        back_to_base(model, inserted)
    if name is not None:
        take(model, inserted, name)
        return
    for layer in adapted:
        layer.reset_adapter()


def keep_active(model: keras.Model, inserted: InsertedAdapters) -> None:
    """Notes the weights of the set in use, which may have been trained since."""
    if inserted.active is not None:
        values = {path: w.numpy() for path, w in trained_weights(model).items()}
        inserted.values[inserted.active] = values


def back_to_base(model: keras.Model, inserted: InsertedAdapters) -> None:
    """Gives back the model's own weights; those of adapters are left as they are."""
    weights = named_variables(model)
    for path, value in inserted.base.items():
        weights[path].assign(value)
    inserted.active = None


def take(model: keras.Model, inserted: InsertedAdapters, name: str) -> None:
    """Gives the model the weights of a set."""
    weights = named_variables(model)
    values = inserted.values[name]
    for path, value in values.items():
        weights[path].assign(value)
    if inserted.base is not None:
        # Else a plan says what trains.
        Trainability(model).set(id(weights[path]) for path in values)
        model.train_function = None
    inserted.active = name
