"""Finds the attentions and feed-forwards of transformer blocks by their structure."""

import fnmatch
from collections.abc import Sequence

import keras

from kmmft.finetuning.adapters.kernel_matrix import DENSES, kernel_matrix

Layers = dict[str, keras.layers.Layer]


def attentions(all_layers: Layers, layers: Layers) -> Layers:
    """The attentions all of whose weights are among those of a rule.

    Args:
        all_layers: All layers of the model, by path.
        layers: Those of the rule.

    Returns:
        Keras' `MultiHeadAttention` layers, by path.
    """
    return {
        path: layer
        for path, layer in all_layers.items()
        if isinstance(layer, keras.layers.MultiHeadAttention)
        and set(_with_weights(all_layers, path)) <= set(layers)
    }


def feed_forwards(
    all_layers: Layers, layers: Layers, targets: str | Sequence[str]
) -> dict[str, tuple[keras.layers.Layer, keras.layers.Layer]]:
    """The two dense layers of each block's feed-forward, by the second one's path.

    A block is a layer, not a model, with an attention among its own layers. Its dense
    layers outside of attentions and of blocks within must be two, the second taking
    what the first gives.

    Raises:
        ValueError: If a block has others, and `targets` match their paths.
    """
    every = {
        path: layer
        for path, layer in all_layers.items()
        if isinstance(layer, keras.layers.MultiHeadAttention)
    }
    blocks = {path.rpartition("/")[0] for path in every}
    blocks = [b for b in blocks if b and not isinstance(all_layers[b], keras.Model)]
    found = {}
    for block in sorted(blocks, key=list(all_layers).index):
        inner = [f"{path}/" for path in (*every, *blocks) if path != block]
        inner = tuple(path for path in inner if path.startswith(f"{block}/"))
        denses = {
            path: layer
            for path, layer in layers.items()
            if path.startswith(f"{block}/")
            and not path.startswith(inner)
            and isinstance(layer, DENSES)
        }
        if _is_chain(list(denses.values())):
            found[list(denses)[-1]] = tuple(denses.values())
        elif any(_matches(path, targets) for path in denses):
            raise ValueError(
                "A feed-forward must be two dense layers, one after the other. "
                f"Received: {list(denses)} in {block!r}. Leave them out with "
                "`targets`, such as the paths of the attentions only."
            )
    return found


def _with_weights(all_layers: Layers, path: str) -> list[str]:
    """Paths of the layers within one that have weights of their own."""
    return [
        inner
        for inner, layer in all_layers.items()
        if inner.startswith(f"{path}/") and layer._trainable_variables
    ]


def _is_chain(denses: list[keras.layers.Layer]) -> bool:
    if len(denses) != 2:
        return False
    first, second = (kernel_matrix(layer) for layer in denses)
    return first.columns == second.rows and first.rows == second.columns


def _matches(path: str, targets: str | Sequence[str]) -> bool:
    patterns = [targets] if isinstance(targets, str) else targets
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)
