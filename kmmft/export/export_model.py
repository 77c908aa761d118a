"""Exports a kmmft model with its own serving functions."""

import os
import pathlib
from collections.abc import Mapping, Sequence

import keras

from kmmft.export.saved_model import export_saved_model
from kmmft.export.signature import Signature


def export_model(
    model: keras.Model,
    path: str | os.PathLike,
    examples: Mapping[str, Sequence],
    tolerance: float = 1e-4,
    version: int | None = None,
) -> pathlib.Path:
    """Exports a model of `kmmft.models` with its signatures.

    Args:
        model: The model.
        path: Base directory; the model is written to `path/VERSION/`.
        examples: Real raw inputs by name, a few of each, for the parity check.
        tolerance: Largest difference from this process that is let pass.
        version: As in `export_saved_model`.

    Returns:
        The directory of the version.

    Raises:
        ValueError: As `export_saved_model`.
    """
    return export_saved_model(
        path,
        {
            name: Signature(function, inputs)
            for name, (function, inputs) in model.serving_functions().items()
        },
        resources=[model],
        examples=examples,
        tolerance=tolerance,
        version=version,
    )
