"""LiteRT models: the numeric part of a model, with its preprocessing beside it."""

import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kmmft.export.saved_model import export_saved_model
from kmmft.export.signature import Signature
from kmmft.models.served_rows import ServedRows

LITERT_KINDS = ("litert_float32", "litert_int8", "litert_int8_calibrated")
MODEL_FILE = "model.tflite"
DESCRIPTION_FILE = "variant.json"
PREPROCESS = "preprocess"
_CALIBRATION_ROWS = 200


def write_litert(
    model: keras.Model,
    directory: str | os.PathLike,
    examples: Mapping[str, Sequence],
    kind: str,
    **options: Any,
) -> pathlib.Path:
    """Converts what a model does with decoded images and token ids to LiteRT.

    In the directory: `model.tflite`, from the model's inputs to all its outputs that
    are numbers, with an open batch; `preprocess/1`, a SavedModel from raw bytes and
    strings to those inputs and `error`; and `variant.json`, which names the inputs and
    the labels of `probabilities`, if there are any. `load_variant` puts them together.
    Elsewhere, such as on a phone, the client makes the inputs: images as float32 in
    [0, 255] of the model's size, and the token ids of the tokenizer.

    - `litert_float32`: no quantisation.
    - `litert_int8`: int8 weights, activations quantised as they come (dynamic).
    - `litert_int8_calibrated`: int8 weights and activations, whose ranges are taken
      from the examples; float32 in and out. It may lose much: measure it.

    Args:
        model: A model of `kmmft.models` with `serve`.
        directory: Where to; must not hold such files.
        examples: Real raw inputs by name. Up to 200 rows calibrate.
        kind: One of the three.
        **options: `max_pixels` and `strict`, as in `export_model`.

    Returns:
        The directory.

    Raises:
        ValueError: If the kind is unknown, the model has no single `serve`, or it has
            operations that LiteRT has not.
    """
    if kind not in LITERT_KINDS:
        raise ValueError(
            f"`kind` must be one of {', '.join(LITERT_KINDS)}. Received: {kind!r}."
        )
    if not (hasattr(model, "serve") and hasattr(model, "preprocess")):
        raise ValueError(
            "Only a model with `serve` and `preprocess` becomes a LiteRT model. "
            f"Received: a {type(model).__name__}. Convert its parts."
        )
    path = pathlib.Path(directory)
    preprocess = export_preprocessing(model, path / PREPROCESS, examples, **options)
    function, labels = _numeric_function(model)
    inputs = _calibration_inputs(preprocess, examples, function)
    converted = _convert(function, kind, inputs)
    (path / MODEL_FILE).write_bytes(converted)
    described = {
        "kind": kind,
        "inputs": sorted(function.structured_input_signature[1]),
        "labels": labels,
    }
    text = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
    (path / DESCRIPTION_FILE).write_text(text, encoding="utf-8")
    return path


def export_preprocessing(
    model: keras.Model,
    path: str | os.PathLike,
    examples: Mapping[str, Sequence],
    **options: Any,
) -> pathlib.Path:
    """Exports what turns raw bytes and strings into a model's inputs, without weights.

    Args:
        model: A model with `kmmft.models.RawInputs`.
        path: Base directory; written to `path/1/`.
        examples: Real raw inputs by name; the first four are checked.
        **options: `max_pixels` and `strict`, as in `export_model`.

    Returns:
        The directory of the version.
    """
    rows = ServedRows(model, **options)
    served = rows(lambda **raw: model.preprocess(raw), model.serving_inputs())
    return export_saved_model(
        path,
        {"serving_default": Signature(served.function, served.inputs)},
        resources=[model],
        examples={name: values[:4] for name, values in examples.items()},
        version=1,
    )


def _numeric_function(model: keras.Model):
    """The traced function of a model's inputs, and the labels of its classes."""
    specs = {
        name: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype, name=name)
        for name, tensor in model.input.items()
    }
    names = set()

    def answer(**inputs):
        raw = {name: model.select(name, inputs) for name in model.encoders}
        present = {k: v for k, v in inputs.items() if k.endswith("_present")}
        outputs = model.serve(**raw, **present)
        names.update(outputs)
        return {
            name: tf.identity(value)
            for name, value in outputs.items()
            if value.dtype != tf.string
        }

    function = tf.function(answer, autograph=False).get_concrete_function(**specs)
    labels = list(model.class_names) if "label" in names else None
    return function, labels


def _calibration_inputs(
    preprocess: pathlib.Path, examples: Mapping[str, Sequence], function
) -> Iterator[dict[str, np.ndarray]]:
    prepare = tf.saved_model.load(str(preprocess)).signatures["serving_default"]
    takes = function.structured_input_signature[1]
    names = prepare.structured_input_signature[1]
    count = min(len(examples[name]) for name in names)
    for row in range(min(count, _CALIBRATION_ROWS)):
        raw = {name: tf.constant(examples[name][row : row + 1]) for name in names}
        outputs = prepare(**raw)
        yield {name: outputs[name].numpy() for name in takes}


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
