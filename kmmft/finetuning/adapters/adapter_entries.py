"""Adapters of a model as plain data, and back."""

import dataclasses
import glob

import keras

from kmmft.finetuning.adapters.adapted_layer import adapted_layers
from kmmft.finetuning.adapters.adapter import Adapter
from kmmft.finetuning.adapters.bitfit import BitFit
from kmmft.finetuning.adapters.bottleneck import Bottleneck
from kmmft.finetuning.adapters.dora import DoRA
from kmmft.finetuning.adapters.ia3 import IA3
from kmmft.finetuning.adapters.inserted_adapters import inserted_adapters
from kmmft.finetuning.adapters.lora import LoRA
from kmmft.finetuning.adapters.prefix import PrefixTokens
from kmmft.finetuning.adapters.stable_paths import stable_layer_paths
from kmmft.finetuning.named_parts import named_layers
from kmmft.finetuning.near_names import near_names

KINDS = {
    kind.__name__: kind for kind in (BitFit, Bottleneck, DoRA, IA3, LoRA, PrefixTokens)
}


def adapter_entries(model: keras.Model) -> list[dict]:
    """What adapters a model has and where, in stable paths.

    Targets are not the patterns that were given but the layers that they chose.
    """
    stable = stable_layer_paths(model)
    adapted = adapted_layers(named_layers(model))
    entries = []
    for adapter, paths in inserted_adapters(model).entries:
        config = dataclasses.asdict(adapter)
        if "targets" in config:
            config["targets"] = [
                stable[path]
                for path, layer in adapted.items()
                if layer.adapter == adapter
                and layer.adapter_weights()
                and any(f"{part}/".startswith(f"{path}/") for part in paths)
            ]
        entries.append(
            {
                "kind": type(adapter).__name__,
                "config": config,
                "layers": [stable[path] for path in paths],
            }
        )
    return entries


def insert_entries(model: keras.Model, entries: list[dict], file) -> None:
    """Puts adapters into a model as they were in another.

    Raises:
        ValueError: If the model lacks layers, or they cannot take an adapter.
    """
    for entry in entries:
        layers = named_layers(model)
        paths = {stable: path for path, stable in stable_layer_paths(model).items()}
        config = dict(entry["config"])
        needed = [*entry["layers"], *config.get("targets", [])]
        check_names(needed, paths, "layers", file)
        if "targets" in config:
            config["targets"] = tuple(
                glob.escape(paths[stable]) for stable in config["targets"]
            )
        adapter: Adapter = KINDS[entry["kind"]](**config)
        chosen = [paths[stable] for stable in entry["layers"]]
        adapter.insert(model, {path: layers[path] for path in chosen})


def check_names(names, present, what: str, file) -> None:
    """Raises a ValueError unless a model has all that a file names."""
    missing = [name for name in names if name not in present]
    if missing:
        raise ValueError(
            f"The model must have all {what} that the file speaks of. Received: "
            f"{missing[:3]} in {file}, {len(missing)} in all that the model has not. "
            f"Near are {near_names(missing[0], present)}."
        )
