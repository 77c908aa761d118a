"""A model made again with smaller transformers, from some of its own weights."""

import contextlib
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence

import keras
import keras_hub
import numpy as np

from kmmft.finetuning.matching_names import matching_names
from kmmft.finetuning.named_parts import named_layers
from kmmft.finetuning.near_names import near_names

_TOKENIZER = keras_hub.tokenizers.Tokenizer


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
    return matching_names(
        found,
        targets,
        lambda pattern: (
            "`targets` must match transformers of KerasHub, which have "
            f"{' or '.join(keys)} in their config. Received: {pattern!r}, which "
            f"matches none of {list(found)}. Near names: "
            f"{near_names(pattern, found or layers)}."
        ),
    )


def rebuild(
    model: keras.Model,
    changes: Sequence[tuple[keras.Model, Mapping]] = (),
    dropped: Collection[int] = (),
    kept: Mapping[int, tuple[int, np.ndarray]] | None = None,
) -> keras.Model:
    """Makes a model anew from its config, changed or not, with the weights left.

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
            "A model's config must make the same weights again, or those that are "
            f"left. Received: {model.name!r}, of which {len(values)} weights should be "
            f"left, and a new one with {len(smaller.weights)}, or of other shapes. "
            "Rebuild it before adapters are inserted; shared layers and gated "
            "feed-forwards cannot be made smaller."
        )
    smaller.set_weights(values)
    _copy_vocabularies(model, smaller)
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


def _copy_vocabularies(model: keras.Model, other: keras.Model) -> None:
    """Tokenizers keep their vocabularies in files beside the config."""
    ours, theirs = (
        [x for x in named_layers(m).values() if isinstance(x, _TOKENIZER)]
        for m in (model, other)
    )
    for one, copy in zip(ours, theirs, strict=True):
        with tempfile.TemporaryDirectory() as folder:
            one.save_assets(folder)
            copy.load_assets(folder)
