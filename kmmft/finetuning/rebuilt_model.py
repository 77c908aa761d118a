"""A model made again with smaller transformers, from some of its own weights."""

import contextlib
import fnmatch
from collections.abc import Collection, Iterator, Mapping, Sequence

import keras
import keras_hub
import numpy as np

from kmmft.finetuning.named_parts import named_layers
from kmmft.finetuning.near_names import near_names


def transformers(
    model: keras.Model, targets: str | Sequence[str], keys: Sequence[str]
) -> dict[str, tuple[keras_hub.models.Backbone, str]]:
    """Backbones of KerasHub whose config has a number that can be made smaller.

    Args:
        model: Built model; may be such a backbone itself, whose path is its name.
        targets: `fnmatch` patterns over their paths.
        keys: Names that the number has in configs.

    Returns:
        dict of the backbone and its key by path.

    Raises:
        ValueError: If a pattern matches none.
    """
    layers = {model.name: model, **named_layers(model)}
    found = {}
    for path, layer in layers.items():
        if isinstance(layer, keras_hub.models.Backbone):
            own = [key for key in keys if isinstance(layer.get_config().get(key), int)]
            found |= {path: (layer, own[0])} if own else {}
    patterns = [targets] if isinstance(targets, str) else list(targets)
    for pattern in patterns:
        if not fnmatch.filter(found, pattern):
            raise ValueError(
                "`targets` must match transformers of KerasHub, which have "
                f"{' or '.join(keys)} in their config. Received: {pattern!r}, which "
                f"matches none of {list(found)}. Near names: "
                f"{near_names(pattern, found or layers)}."
            )
    return {
        path: pair
        for path, pair in found.items()
        if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)
    }


def rebuild(
    model: keras.Model,
    changes: Sequence[tuple[keras.Model, Mapping]],
    dropped: Collection[int] = (),
    kept: Mapping[int, tuple[int, np.ndarray]] | None = None,
) -> keras.Model:
    """Makes a model anew from a changed config, with the weights that are left.

    Args:
        model: The model, which stays as it is.
        changes: Models within it, or itself, and what is new in their configs.
        dropped: Ids of the weights that the new model does not have.
        kept: By id of a weight, an axis and which numbers along it are left.

    Returns:
        A model of the same class, not compiled, under the same strategy.

    Raises:
        ValueError: If the config makes a model of other weights.
    """
    kept = kept or {}
    values = []
    for weight in model.weights:
        if id(weight) in dropped:
            continue
        value = weight.numpy()
        if id(weight) in kept:
            axis, numbers = kept[id(weight)]
            value = np.take(value, numbers, axis)
        values.append(value)
    with contextlib.ExitStack() as stack:
        for part, new in changes:
            stack.enter_context(_changed_config(part, new))
        config = model.get_config()
    with model.distribute_strategy.scope():
        smaller = type(model).from_config(config)
    shapes = [tuple(weight.shape) for weight in smaller.weights]
    if shapes != [value.shape for value in values]:
        raise ValueError(
            "A model's config must say how large it is. Received: "
            f"{model.name!r}, whose weights do not become as small as "
            f"{[dict(new) for _, new in changes]} says. Its transformer has layers of "
            "another form, such as shared ones or gated feed-forwards."
        )
    smaller.set_weights(values)
    return smaller


@contextlib.contextmanager
def _changed_config(part: keras.Model, new: Mapping) -> Iterator[None]:
    # On the object, since the config of the whole model is made of its parts'.
    changed = {**part.get_config(), **new}
    part.get_config = lambda: changed
    try:
        yield
    finally:
        del part.get_config
