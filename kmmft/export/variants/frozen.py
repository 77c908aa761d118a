"""SavedModels whose weights are constants of the graph."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)

from kmmft.export.export_model import model_signatures
from kmmft.export.saved_model import export_saved_model
from kmmft.export.signature import Signature

FROZEN_KINDS = ("frozen",)
# A graph is one message of protobuf.
_LARGEST_BYTES = 2**31


def export_frozen(
    model: keras.Model,
    path: str | os.PathLike,
    examples: Mapping[str, Sequence],
    kind: str = "frozen",
    **options: Any,
) -> pathlib.Path:
    """Exports a model's main signature with its weights as constants of the graph.

    TensorFlow then folds what depends on weights alone, such as batch normalisation
    into convolutions, lays weights out once for the CPU's kernels, and need not look up
    each weight at each request. Any server that takes `export_model`'s takes this.

    Args:
        model: A model of `kmmft.models`.
        path: Base directory; the model is written to `path/1/`.
        examples: As in `export_model`.
        kind: `"frozen"`.
        **options: As in `export_model`.

    Returns:
        The directory of the version.

    Raises:
        ValueError: As `export_model`, or if the weights are too large for a graph.
    """
    if kind not in FROZEN_KINDS:
        raise ValueError(f"`kind` must be 'frozen'. Received: {kind!r}.")
    signature = model_signatures(model, **options)["serving_default"]
    traced = signature.trace("serving_default")
    weights = sum(v.shape.num_elements() * v.dtype.size for v in traced.variables)
    if weights > _LARGEST_BYTES:
        raise ValueError(
            "A graph holds 2 GiB. Received: weights of "
            f"{weights / 2**30:.1f} GiB. Use another variant."
        )
    frozen = convert_variables_to_constants_v2(traced)
    names = sorted(traced.structured_outputs)
    # What is no weight, such as the table of a lookup, stays outside of the graph.
    outside = {inside.name: handle for handle, inside in traced.graph.captures}
    asked = [tensor.name for tensor in frozen.inputs]

    def answer(**raw):
        known = {f"{name}:0": value for name, value in raw.items()} | outside
        return dict(zip(names, frozen(*(known[name] for name in asked)), strict=True))

    return export_saved_model(
        path,
        {"serving_default": Signature(answer, signature.inputs, signature.examples)},
        resources=[model],
        examples=examples,
        tolerance=1e-4,
        version=1,
    )
