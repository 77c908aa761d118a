"""Smaller towers out of trained ones: some of their layers."""

import collections
from collections.abc import Sequence

import keras

from kmmft.finetuning.named_parts import named_layers
from kmmft.finetuning.near_names import near_names
from kmmft.finetuning.rebuilt_model import rebuild, transformers

# What KerasHub's configs call the number of layers.
KEYS = ("num_layers",)


def keep_layers(
    model: keras.Model, keep: Sequence[int], targets: str | Sequence[str] = "*"
) -> keras.Model:
    """Makes a smaller model out of some layers of its transformers.

    A student for distillation begins well with every other layer of its teacher. The
    new model is an ordinary one of the same class; the layers that are left have their
    weights, and so has all else.

    Args:
        model: Built model with transformers of KerasHub in it. It stays as it is.
        keep: Numbers of the layers that are left, from 0 up, such as `range(0, 6, 2)`.
        targets: `fnmatch` patterns over the paths of the transformers, such as
            `"text_encoder/*"`.

    Returns:
        The smaller model, not compiled, without plan and step options. What was frozen
        by its layers' configs still is.

    Raises:
        ValueError: If `keep` names layers that are not there, or not in order, or
            `targets` match no transformer with layers of one kind.

    Example:
        >>> vit = keras_hub.models.ViTBackbone((32, 32, 3), 16, 4, 2, 8, 16)
        >>> kmmft.finetuning.keep_layers(vit, keep=[0, 2]).num_layers
        2

    References:
        - [Sanh et al., 2019](https://arxiv.org/abs/1910.01108), section 3 (one layer
          out of two).
    """
    keep = list(keep)
    changes, dropped = [], set()
    for path, (backbone, key) in transformers(model, targets, KEYS).items():
        count = getattr(backbone, key)
        if not keep or keep != sorted({*keep} & {*range(count)}):
            raise ValueError(
                "`keep` must be numbers of layers in rising order. Received: "
                f"{keep} for {path!r}, whose layers are 0 to {count - 1}."
            )
        for number, block in enumerate(_blocks(path, backbone, count)):
            if number not in keep:
                dropped |= {id(weight) for weight in block.weights}
        changes.append((backbone, {key: len(keep)}))
    return rebuild(model, changes, dropped)


def cut_image_encoder(encoder: keras.Model, last_layer: str) -> keras.Model:
    """Makes a smaller image encoder out of the first layers of its backbone.

    For convolutional towers, which have most of their weights in the last stages.

    Args:
        encoder: `kmmft.encoders.ImageEncoder` with a functional backbone. It stays as
            it is.
        last_layer: Name of the layer in its backbone whose output is the new feature
            map, or token sequence.

    Returns:
        `ImageEncoder` with copies of the weights, pooled in the same way. A projection
        is left out, since the width is another.

    Raises:
        ValueError: If there is no such layer.

    Example:
        >>> encoder = kmmft.encoders.ImageEncoder.from_preset(
        ...     "demo", image_size=64, load_weights=False)
        >>> smaller = kmmft.finetuning.cut_image_encoder(encoder, "block3b_add")
        >>> smaller.output_dim
        40
    """
    backbone = encoder.backbone
    names = [layer.name for layer in backbone.layers]
    if last_layer not in names:
        raise ValueError(
            "`last_layer` must be a layer of the encoder's backbone. Received: "
            f"{last_layer!r}. Near names: {near_names(last_layer, names)}; the last "
            f"ones are {names[-3:]}."
        )
    with encoder.distribute_strategy.scope():
        first = keras.Model(backbone.input, backbone.get_layer(last_layer).output)
        copy = keras.Model.from_config(first.get_config())
        copy.set_weights(first.get_weights())
        config = encoder.get_config() | {"backbone": copy, "projection": None}
        return type(encoder)(**config)


def _blocks(path: str, backbone: keras.Model, count: int) -> list[keras.layers.Layer]:
    """The layers of a transformer: as many of one kind as its config says."""
    kinds = collections.defaultdict(list)
    for layer in named_layers(backbone).values():
        kinds[type(layer)].append(layer)
    fitting = [layers for layers in kinds.values() if len(layers) == count]
    if not fitting:
        raise ValueError(
            "A transformer's layers must be of one kind. Received: "
            f"{path!r}, a {type(backbone).__name__}, which has no {count} layers of "
            "one kind. Name other transformers with `targets`."
        )
    # Attentions and norms are as many, but smaller: they are parts of the layers.
    return max(fitting, key=lambda layers: sum(x.count_params() for x in layers))
