"""Merges adapters into the weights that they change, and takes them out again."""

import keras

from kmmft.finetuning.adapters.adapted_layer import adapted_layers, merge, unmerge
from kmmft.finetuning.adapters.inserted_adapters import forget_graphs
from kmmft.finetuning.named_parts import named_layers


def merge_adapters(model: keras.Model) -> None:
    """Puts what adapters learned into the model's own weights.

    The model is a plain Keras model then, of the same outputs up to rounding: it can
    be saved, cloned, quantised and exported, and is as fast as without adapters. The
    optimizer's state is of no use to it; compile it to train on.

    Args:
        model: Model, or a part of one, such as an encoder. Changed in place.

    Raises:
        ValueError: If there are no adapters, or some cannot be merged: `Bottleneck`
            and `PrefixTokens` add computations of their own.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> layers = kmmft.finetuning.named_layers(model)
        >>> weights = kmmft.finetuning.LoRA(rank=2).insert(model, layers)
        >>> weights[1].assign(np.ones((2, 3))).shape
        TensorShape([2, 3])
        >>> before = model(np.ones((1, 4)))
        >>> kmmft.finetuning.merge_adapters(model)
        >>> bool(np.allclose(before, model(np.ones((1, 4))), atol=1e-5))
        True
    """
    adapted = adapted_layers(named_layers(model))
    if not adapted:
        raise ValueError(
            f"There must be adapters to merge. Received: {model.name!r} without. "
            "BitFit needs no merging."
        )
    stuck = [path for path, layer in adapted.items() if not layer.mergeable]
    if stuck:
        kinds = sorted({type(adapted[path].adapter).__name__ for path in stuck})
        raise ValueError(
            f"Some adapters cannot be merged. Received: {' and '.join(kinds)} in "
            f"{stuck}. Keep the model with `save_adapters` and `load_adapters`."
        )
    for layer in adapted.values():
        merge(layer)
    forget_graphs(model)


def unmerge_adapters(model: keras.Model) -> None:
    """Undoes `merge_adapters`: the model's own weights are as before, bit for bit.

    Args:
        model: Model whose adapters were merged. Changed in place.

    Raises:
        ValueError: If nothing was merged, or merged weights have changed since.
    """
    merged = [
        layer
        for layer in named_layers(model).values()
        if hasattr(layer, "merged_adapter")
    ]
    if not merged:
        raise ValueError(
            f"There must be merged adapters. Received: {model.name!r} without. Call "
            "`merge_adapters` first."
        )
    for layer in merged:
        unmerge(layer)
    forget_graphs(model)
