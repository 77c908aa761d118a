"""Exports a kmmft model with its own serving function."""

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
    """Exports a model that has `serve` and `serving_inputs`, such as FusionClassifier.

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
        {"serving_default": Signature(model.serve, model.serving_inputs())},
        resources=[model],
        examples=examples,
        tolerance=tolerance,
        version=version,
    )
