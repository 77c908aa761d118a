"""How far above a model's inputs each of its weights is."""

import re

import keras

from kmmft.finetuning.named_parts import named_layers, named_variables

_WORD = r"(?:layer|block|stage|stack|group|encoder)s?_?\d+[a-z]?"
# `transformer_layer_3`, `stack0_block1` of `stack0_block1_2_conv`, `encoder_0_1`.
_BLOCK = re.compile(rf"(?:.*?_)??{_WORD}(?:_(?:[a-z]+_)*{_WORD})*(?:(?:_\d+)+$)?")


def layer_depths(model: keras.Model) -> dict[str, int]:
    """Depth of each weight: 0 for embeddings, one more for each block above.

    Blocks are those of transformers and of convolutional nets, found by their names,
    such as `transformer_layer_3` or `block2a_project`. What comes before the first
    block (embeddings, a stem) has depth 0; what comes after the last (the final norm,
    a pooler, a head) has the greatest. A model without such names has a depth for each
    of its layers. Encoders of a kmmft model, and a pretrained decoder, are counted each
    for itself, and end at the same depth; all outside them has the greatest.

    Args:
        model: Built model, encoder or backbone.

    Returns:
        dict of depths by path, as in `named_variables`.

    Raises:
        ValueError: If the model has no weights.

    Example:
        >>> backbone = keras_hub.models.BertBackbone(7, 2, 2, 8, 16)
        >>> depths = kmmft.finetuning.layer_depths(backbone)
        >>> depths["token_embedding/embeddings"], depths["pooled_dense/kernel"]
        (0, 3)

    References:
        - [Bao et al., 2021](https://arxiv.org/abs/2106.08254), appendix (layer-wise
          decay, whose code counts so).
        - [Howard & Ruder, 2018](https://arxiv.org/abs/1801.06146), section 3.2.
    """
    paths = _paths_in_order(model)
    towers = [f"{name}/" for name in tower_names(model)] or [""]
    depths, tops = {}, {}
    for tower in towers:
        own = [path for path in paths if path.startswith(tower)]
        found, tops[tower] = _depths(own, tower)
        depths |= {path: (tower, depth) for path, depth in found.items()}
    top = max(tops.values())

    def aligned(path):
        tower, depth = depths.get(path, (None, top))
        return depth + top - tops.get(tower, top)

    return {path: aligned(path) for path in named_variables(model)}


def _paths_in_order(model: keras.Model) -> list[str]:
    """Paths of weights in the order in which data pass their layers."""
    paths = {id(v): path for path, v in named_variables(model).items()}
    ordered, seen = {}, set()

    def visit(layer):
        if id(layer) in seen:
            return
        seen.add(id(layer))
        for variable in layer._trainable_variables + layer._non_trainable_variables:
            if id(variable) in paths:
                ordered.setdefault(paths[id(variable)])
        # Of a functional model these are in topological order.
        for child in layer._flatten_layers(include_self=False, recursive=False):
            visit(child)

    visit(model)
    return list(ordered)


def tower_names(model: keras.Model) -> list[str]:
    """A kmmft model's encoders and pretrained decoder, or several `*_encoder`."""
    encoders = getattr(model, "encoders", None)
    if hasattr(encoders, "values"):
        decoder = getattr(model, "decoder", None)
        pretrained = [decoder] if getattr(decoder, "pretrained", False) else []
        return [tower.name for tower in (*encoders.values(), *pretrained)]
    named = [
        path
        for path, layer in named_layers(model).items()
        if path.endswith("_encoder") and "/" not in path and layer.weights
    ]
    # One alone is a part of a backbone, such as KerasHub's `vit_encoder`.
    return named if len(named) > 1 else []


def _depths(paths: list[str], tower: str) -> tuple[dict[str, int], int]:
    """Depths of the weights of one tower, and that of its head."""
    blocks = {path: _block(path.removeprefix(tower)) for path in paths}
    names = [name for name in dict.fromkeys(blocks.values()) if name]
    # What is within a stage but in none of its blocks is no block.
    names = [
        name
        for name in names
        if not any(other.startswith((f"{name}/", f"{name}_")) for other in names)
    ]
    if not names:
        layers = list(dict.fromkeys(path.rpartition("/")[0] for path in paths))
        depths = {path: layers.index(path.rpartition("/")[0]) for path in paths}
        # The head of a tower is outside of it.
        return depths, len(layers) if tower else len(layers) - 1
    number = {name: index + 1 for index, name in enumerate(names)}
    last = max(index for index, path in enumerate(paths) if blocks[path] in number)
    depths, depth = {}, 0
    for index, path in enumerate(paths):
        depth = number.get(blocks[path], depth if index < last else len(names) + 1)
        depths[path] = depth
    return depths, len(names) + 1


def _block(path: str) -> str | None:
    """The path down to the block: `bert_backbone/transformer_layer_3`."""
    parts = path.split("/")
    for start, part in enumerate(parts):
        found = _BLOCK.match(part)
        # Whisper's stem is `encoder_token_embedding_conv_layer_1`.
        if found is None or "embedding" in part:
            continue
        names = [*parts[:start], found.group()]
        for part in parts[start + 1 :]:
            found = _BLOCK.match(part)
            if found is None:
                break
            names.append(found.group())
        return "/".join(names)
    return None
