"""LiteRT models: the numeric part of a model, with its preprocessing beside it."""

import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kmmft.export.variants.numeric_part import write_numeric_part
from kmmft.serving.converted_model import LITERT_FILE

LITERT_KINDS = ("litert_float32", "litert_int8", "litert_int8_calibrated")
_CALIBRATION_ROWS = 200


def write_litert(
    model: keras.Model,
    path: str | os.PathLike,
    examples: Mapping[str, Sequence],
    kind: str,
    **options: Any,
) -> pathlib.Path:
    """Converts what a model does with decoded images and token ids to LiteRT.

    In `path/1/`: `model.tflite`, from the model's inputs to all its outputs that
    are numbers, with an open batch; `preprocess/1`, a SavedModel from raw bytes and
    strings to those inputs and `error`; and `variant.json`, which names the inputs and
    the labels of `probabilities`, if there are any. `load_variant` and `kmmft-serve`
    put them together.
    Elsewhere, such as on a phone, the client makes the inputs: images as float32 in
    [0, 255] of the model's size, and the token ids of the tokenizer.

    - `litert_float32`: no quantisation.
    - `litert_int8`: int8 weights, activations quantised as they come (dynamic).
    - `litert_int8_calibrated`: int8 weights and activations, whose ranges are taken
      from the examples; float32 in and out. It may lose much: measure it.

    Args:
        model: A model of `kmmft.models` with `serve`.
        path: Base directory; the model is written to `path/1/`.
        examples: Real raw inputs by name. Up to 200 rows calibrate.
        kind: One of the three.
        **options: `max_pixels` and `strict`, as in `export_model`.

    Returns:
        The directory of the version.

    Raises:
        ValueError: If the kind is unknown, the model has no single `serve`, or it has
            operations that LiteRT has not.
    """
    if kind not in LITERT_KINDS:
        raise ValueError(
            f"`kind` must be one of {', '.join(LITERT_KINDS)}. Received: {kind!r}."
        )
    directory = pathlib.Path(path, "1")
    part = write_numeric_part(model, directory, examples, **options)
    inputs = part.prepared_rows(examples, _CALIBRATION_ROWS)
    (directory / LITERT_FILE).write_bytes(_convert(part.function, kind, inputs))
    part.describe(directory, kind)
    return directory


def _convert(function, kind: str, inputs: Iterator[dict[str, np.ndarray]]) -> bytes:
    module = tf.Module()
    module.model_variables = list(function.variables)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    if kind != "litert_float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "litert_int8_calibrated":
        converter.representative_dataset = lambda: inputs
    try:
        return converter.convert()
    except Exception as error:  # the converter raises all kinds
        raise ValueError(
            "The model must be made of operations that LiteRT has. "
            f"Received: {str(error)[:1000]}. Use another variant."
        ) from error
