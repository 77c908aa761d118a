"""Which layers of a model get a row in a measurement of its layers."""

import fnmatch
import posixpath
from collections.abc import Collection, Iterable, Mapping, Sequence

import keras

from kmmft.finetuning import layer_depths, named_layers
from kmmft.finetuning.layer_depths import tower_names
from kmmft.finetuning.near_names import near_names


def measured_layers(
    model: keras.Model, layers: str | Sequence[str] | None = None
) -> list[str]:
    """Names of the parts of a model that a measurement shows, from the input upwards.

    By default each block is one part (see `kmmft.finetuning.layer_depths`), and so is
    each layer before, between and after the blocks. A block of a convolutional net is
    often no layer, but several that begin alike: then the part is that beginning.

    Args:
        model: Built model.
        layers: `fnmatch` patterns over the paths of the model's layers
            (`kmmft.finetuning.named_layers`). Layers within a layer that matches
            count with it. `None` for the default.

    Returns:
        Paths of layers, beginnings of paths, or paths of weights that belong to no
        layer of their own.

    Raises:
        ValueError: If a pattern matches nothing.

    Example:
        >>> backbone = keras_hub.models.BertBackbone(7, 2, 2, 8, 16)
        >>> kmmft.evaluation.measured_layers.measured_layers(backbone)[-3:]
        ['transformer_layer_0', 'transformer_layer_1', 'pooled_dense']
    """
    if layers is None:
        return _blocks(model)
    patterns = [layers] if isinstance(layers, str) else list(layers)
    paths, found = list(named_layers(model)), set()
    for pattern in patterns:
        matches = fnmatch.filter(paths, pattern)
        if not matches:
            raise ValueError(
                "A pattern must match a layer of the model. Received: "
                f"{pattern!r}, which matches nothing. Near names: "
                f"{near_names(pattern, paths)}; all are in "
                "kmmft.finetuning.named_layers(model)."
            )
        found.update(matches)
    return [
        path
        for path in paths
        if path in found and not any(path.startswith(f"{other}/") for other in found)
    ]


def part_of(path: str, parts: Iterable[str], layers: Collection[str]) -> str | None:
    """The part that a weight or a layer belongs to: of several the innermost.

    Args:
        path: Path of the weight or the layer.
        parts: What `measured_layers` returned.
        layers: Paths of the model's layers.

    Returns:
        One of `parts`, or `None`.
    """
    holding = [part for part in parts if _holds(part, path, layers)]
    return max(holding, key=len, default=None)


def layers_of_parts(
    model: keras.Model, parts: Sequence[str]
) -> dict[str, keras.layers.Layer]:
    """The layers whose outputs may be those of a part, by path.

    Of a part that is a layer it is this layer; else all layers whose paths begin with
    it, of which the one that runs last gives the part's output.
    """
    layers = named_layers(model)
    folders = {part.rpartition("/")[0] for part in parts if part not in layers}
    return {
        path: layer
        for path, layer in layers.items()
        if path in parts
        or (path.rpartition("/")[0] in folders and part_of(path, parts, layers))
    }


def _holds(part: str, path: str, layers: Collection[str]) -> bool:
    # `dense` does not hold `dense_1`; `block2a`, no layer, holds `block2a_conv`.
    beginnings = (f"{part}/",) if part in layers else (f"{part}/", f"{part}_")
    return path == part or path.startswith(beginnings)


def _blocks(model: keras.Model) -> list[str]:
    towers, layers = tower_names(model), named_layers(model)
    groups = {}
    for path, depth in layer_depths(model).items():
        tower = path.partition("/")[0]
        # Towers one after the other, then what is outside of them.
        place = towers.index(tower) if tower in towers else len(towers)
        groups.setdefault((place, depth), []).append(path)
    parts = []
    for place in sorted(groups):
        others = [path for other in groups if other != place for path in groups[other]]
        parts += _parts_of_group(groups[place], others, layers)
    return parts


def _parts_of_group(own: list[str], others: list[str], layers: Mapping) -> list[str]:
    """One name for all weights of a group, or else one for each of its layers."""
    homes = [path.rpartition("/")[0] for path in own]
    name = homes[0]
    # Shorter and shorter beginnings, until one holds all of the group.
    while name:
        if all(_holds(name, home, layers) for home in homes) and not any(
            _holds(name, other, layers) for other in others
        ):
            return [name]
        name = name[: max(name.rfind("/"), name.rfind("_"), 0)]
    folder = posixpath.commonpath(homes)
    depth = folder.count("/") + 2 if folder else 1
    return list(dict.fromkeys("/".join(path.split("/")[:depth]) for path in own))
