"""Structured pruning: transformers with narrower feed-forwards."""

import logging
from collections.abc import Iterable, Sequence

import keras
import numpy as np

from kmmft.finetuning.adapters.kernel_matrix import base_kernel, kernel_matrix
from kmmft.finetuning.adapters.transformer_parts import feed_forwards
from kmmft.finetuning.named_parts import named_layers
from kmmft.finetuning.rebuilt_model import rebuild, transformers
from kmmft.finetuning.unit_importance import (
    FeedForward,
    magnitude_importance,
    taylor_importance,
)

logger = logging.getLogger(__name__)

# What KerasHub's configs call the number of hidden units.
KEYS = ("intermediate_dim", "mlp_dim")


def prune_hidden_units(
    model: keras.Model,
    sparsity: float,
    targets: str | Sequence[str] = "*",
    dataset: Iterable | None = None,
    batches: int | None = None,
) -> keras.Model:
    """Makes a smaller model without the least important units of the feed-forwards.

    The new model is an ordinary one of the same class, smaller and faster. It answers
    as `model` would if those units gave zero. Compile and train it for a short while
    to recover what was lost. From each feed-forward of a transformer as many units
    go, since KerasHub's configs have one number for all of them; of each the least
    important ones. About two thirds of a transformer's weights beside its embeddings
    are in feed-forwards.

    Args:
        model: Built model with transformers of KerasHub in it (BERT, RoBERTa, ViT,
            CLIP, SigLIP, ...). It stays as it is. A compiled one with `dataset`.
        sparsity: Share of the units that go, in (0, 1).
        targets: `fnmatch` patterns over the paths of the transformers, such as
            `"text_encoder/*"`.
        dataset: Batches as for `fit`: units then count by what the loss would lose
            (Molchanov et al.). `None` to go by the norm of their weights (Fang et
            al.).
        batches: How many of them to use; `None` for all.

    Returns:
        The smaller model, not compiled, without plan and step options. What was frozen
        by its layers' configs still is.

    Raises:
        ValueError: If `sparsity` is out of range, `targets` match no transformer, or
            one has feed-forwards of another form, such as gated ones.

    Example:
        >>> vit = keras_hub.models.ViTBackbone((32, 32, 3), 16, 1, 2, 8, 16)
        >>> smaller = kmmft.finetuning.prune_hidden_units(vit, sparsity=0.25)
        >>> smaller.mlp_dim, vit.count_params() - smaller.count_params()
        (12, 68)

    References:
        - [Molchanov et al., 2019](https://arxiv.org/abs/1906.10771), eq. 8 with a
          gate on each unit.
        - [Fang et al., 2023](https://arxiv.org/abs/2301.12900), section 3.2 (the
          norm of all weights that go together).
    """
    if not 0 < sparsity < 1:
        raise ValueError(f"`sparsity` must be in (0, 1). Received: {sparsity}.")
    changes, pairs, counts = [], [], []
    for path, (backbone, key) in transformers(model, targets, KEYS).items():
        units = getattr(backbone, key)
        found = _feed_forwards(path, backbone, units)
        left = max(units - round(sparsity * units), 1)
        changes.append((backbone, {key: left}))
        pairs += found
        counts += [left] * len(found)
        logger.info("%s: %d of %d hidden units are left", path, left, units)
    importance = (
        magnitude_importance(pairs)
        if dataset is None
        else taylor_importance(model, pairs, dataset, batches)
    )
    kept = {}
    for pair, values, count in zip(pairs, importance, counts, strict=True):
        best = np.sort(np.argsort(-values, kind="stable")[:count])
        kept |= _kept_of_pair(pair, best)
    return rebuild(model, changes, kept=kept)


def _feed_forwards(path: str, backbone: keras.Model, units: int) -> list[FeedForward]:
    layers = named_layers(backbone)
    found = list(feed_forwards(layers, layers, "*").values())
    if not found or any(kernel_matrix(first).columns != units for first, _ in found):
        raise ValueError(
            "Hidden units are those of two dense layers in a block with Keras' "
            f"MultiHeadAttention. Received: {path!r}, a {type(backbone).__name__}, "
            f"whose blocks have no such feed-forwards of {units} units. Name other "
            "transformers with `targets`."
        )
    return found


def _kept_of_pair(pair: FeedForward, units: np.ndarray) -> dict:
    first, second = pair
    (out,), (into,) = kernel_matrix(first).outputs, kernel_matrix(second).inputs
    kept = {
        id(base_kernel(first)): (out, units),
        id(base_kernel(second)): (into, units),
    }
    if first.bias is not None:
        kept[id(first.bias)] = (len(first.bias.shape) - 1, units)
    return kept
