"""Adapters in files of their own."""

import json
import os
import pathlib

import keras
import numpy as np

import kmmft
from kmmft.finetuning.adapters.adapted_layer import adapted_layers, remove
from kmmft.finetuning.adapters.adapter_entries import (
    KINDS,
    adapter_entries,
    check_names,
    insert_entries,
)
from kmmft.finetuning.adapters.inserted_adapters import (
    forget_graphs,
    inserted_adapters,
)
from kmmft.finetuning.adapters.named_adapters import back_to_base, keep_active, take
from kmmft.finetuning.adapters.stable_paths import stable_weight_paths
from kmmft.finetuning.adapters.trained_weights import adapter_weights, trained_weights
from kmmft.finetuning.named_parts import named_layers, named_variables

_FORMAT = "kmmft adapters 1"


def save_adapters(
    model: keras.Model, path: str | os.PathLike, name: str | None = None
) -> None:
    """Writes only what was trained: adapters, and weights that train beside them.

    These are heads and biases, and the statistics of BatchNorm layers that are not
    frozen. All other weights are those of the base, which the file names but does not
    hold. A kill while writing leaves the file that was there before.

    Args:
        model: Model with adapters.
        path: The file, `*.safetensors`. It also holds the adapters' configurations.
        name: Which of several sets of adapters; `None` for the one in use.

    Raises:
        ValueError: If the model has no adapters, they are merged, or there is no set
            of this name.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> layers = kmmft.finetuning.named_layers(model)
        >>> weights = kmmft.finetuning.LoRA(rank=2).insert(model, layers)
        >>> kmmft.finetuning.save_adapters(model, "adapters.safetensors")
    """
    import safetensors.numpy  # needed only here

    inserted = inserted_adapters(model)
    if inserted.active is not None:
        keep_active(model, inserted)
    name = inserted.active if name is None else name
    if name not in inserted.values:
        raise ValueError(
            f"`name` must be one of {sorted(inserted.values)}. Received: {name!r}."
        )
    metadata = {
        "format": _FORMAT,
        "kmmft_version": kmmft.__version__,
        "base": f"{type(model).__name__} {model.name}",
        "adapters": json.dumps(adapter_entries(model)),
    }
    stable = stable_weight_paths(model)
    values = {stable[key]: value for key, value in inserted.values[name].items()}
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}")
    temporary.write_bytes(safetensors.numpy.save(values, metadata))
    temporary.replace(path)


def load_adapters(
    model: keras.Model, path: str | os.PathLike, name: str = "default"
) -> None:
    """Gives a model saved adapters, and all weights that were trained beside them.

    The model must be the base that they were trained on: then its outputs are those of
    the model that was saved, exactly. The weights of the file are made to train, all
    others are frozen; compile the model to train on. Where a plan has put the same
    adapters into the model already, only their values are read, and the plan decides
    what trains.

    A model can have several sets of the same adapters, on the same layers and of the
    same sizes, one of them in use; see `use_adapter`. The one that is loaded comes
    into use.

    Args:
        model: Built model. Changed in place.
        path: What `save_adapters` wrote.
        name: Name of the set.

    Raises:
        ValueError: If the file is none of `save_adapters`, or does not fit the model,
            whose outputs are unchanged then.

    Example:
        >>> def base():
        ...     return keras.Sequential(
        ...         [keras.Input((4,)), keras.layers.Dense(3, name="dense")])
        >>> model = base()
        >>> layers = kmmft.finetuning.named_layers(model)
        >>> weights = kmmft.finetuning.LoRA(rank=2).insert(model, layers)
        >>> kmmft.finetuning.save_adapters(model, "adapters.safetensors")
        >>> kmmft.finetuning.load_adapters(base(), "adapters.safetensors")
    """
    path = pathlib.Path(path)
    entries, values = _read(path)
    is_base = not hasattr(model, "inserted_adapters")
    try:
        if is_base:
            insert_entries(model, entries, path)
            model.inserted_adapters.base, model.inserted_adapters.active = {}, None
        inserted = inserted_adapters(model)
        _check_entries(adapter_entries(model), entries, path)
        values = _own_names(model, values, path)
        _check_values(model, values, path)
    except ValueError:
        if is_base:
            _take_out(model)
        raise
    keep_active(model, inserted)
    if inserted.base is not None:
        back_to_base(model, inserted)
        weights = named_variables(model)
        for weight_path in set(values) - set(adapter_weights(model)):
            inserted.base.setdefault(weight_path, weights[weight_path].numpy())
    inserted.values[name] = values
    take(model, inserted, name)


def _read(path: pathlib.Path) -> tuple[list[dict], dict[str, np.ndarray]]:
    import safetensors  # needed only here

    try:
        with safetensors.safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            values = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"The file must be one of `save_adapters`. Received: {path}, which is no "
            "safetensors file."
        ) from error
    entries = json.loads(metadata.get("adapters", "[]"))
    unknown = [entry["kind"] for entry in entries if entry["kind"] not in KINDS]
    if metadata.get("format") != _FORMAT or unknown:
        raise ValueError(
            f"The file must be one of `save_adapters`. Received: {path} with "
            f"format={metadata.get('format')!r} and unknown adapters {unknown}."
        )
    return entries, values


def _take_out(model: keras.Model) -> None:
    for layer in adapted_layers(named_layers(model)).values():
        remove(layer)
    vars(model).pop("inserted_adapters", None)
    forget_graphs(model)


def _own_names(
    model: keras.Model, values: dict[str, np.ndarray], path: pathlib.Path
) -> dict[str, np.ndarray]:
    """The values by the paths that the model's weights have in this process."""
    own = {stable: name for name, stable in stable_weight_paths(model).items()}
    check_names(values, own, "weights", path)
    return {own[stable]: value for stable, value in values.items()}


def _check_entries(present: list[dict], wanted: list[dict], path: pathlib.Path) -> None:
    if present != wanted:
        kinds = [[(e["kind"], e["config"]) for e in x] for x in (wanted, present)]
        raise ValueError(
            "All sets of adapters of a model must be of the same kinds and sizes, on "
            f"the same layers. Received: {str(kinds[0])[:300]} in {path}; the model "
            f"has {str(kinds[1])[:300]}. Load it into a base of its own."
        )


def _check_values(
    model: keras.Model, values: dict[str, np.ndarray], path: pathlib.Path
) -> None:
    weights = named_variables(model)
    wrong = {
        name: (value.shape, tuple(weights[name].shape))
        for name, value in values.items()
        if value.shape != tuple(weights[name].shape)
    }
    if wrong:
        name, (shape, expected) = next(iter(wrong.items()))
        raise ValueError(
            f"Weights in the file must have the model's shapes. Received: {shape} for "
            f"{name!r} in {path}, where the model has {expected}. Build the base that "
            "the adapters were trained on."
        )
    needed = adapter_weights(model)
    inserted = inserted_adapters(model)
    if inserted.base is None:
        needed = trained_weights(model)
    missing = [name for name in needed if name not in values]
    if missing:
        raise ValueError(
            f"The file must have all that trains. Received: {path} without "
            f"{missing[:3]}. Load it into a fresh base."
        )
