"""What a model does with decoded images and token ids, and what comes before it.

LiteRT and ONNX have no operations that decode images or cut texts into tokens. A
variant of theirs is a directory: a converted model, from the model's inputs to all its
outputs that are numbers, with an open batch; `preprocess/1`, a SavedModel from raw
bytes and strings to those inputs and `error`; and `variant.json`, which names the
inputs and outputs, and the labels of `probabilities`, if there are any.
`kmmft.serving.converted_model` puts them together.
"""

import dataclasses
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
from kmmft.serving.converted_model import DESCRIPTION_FILE, PREPROCESS


@dataclasses.dataclass(frozen=True)
class NumericPart:
    """A model's function of prepared inputs, beside the preprocessing that was written.

    Attributes:
        function: Traced, of the model's inputs by name.
        labels: Names of the classes of `probabilities`, if the model labels.
        preprocess: Directory of the SavedModel that prepares raw inputs.
    """

    function: tf.types.experimental.ConcreteFunction
    labels: list[str] | None
    preprocess: pathlib.Path

    @property
    def inputs(self) -> dict[str, tf.TensorSpec]:
        """Specs of what the function takes, by name."""
        return self.function.structured_input_signature[1]

    def prepared_rows(
        self, examples: Mapping[str, Sequence], count: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """Prepares raw examples one by one.

        Args:
            examples: Raw inputs by name.
            count: Of how many rows at most.

        Yields:
            Arrays by name, of one row each.
        """
        loaded = tf.saved_model.load(str(self.preprocess))
        prepare = loaded.signatures["serving_default"]
        names = prepare.structured_input_signature[1]
        rows = min(count, *(len(examples[name]) for name in names))
        for row in range(rows):
            raw = {name: tf.constant(examples[name][row : row + 1]) for name in names}
            outputs = prepare(**raw)
            yield {name: outputs[name].numpy() for name in self.inputs}

    def describe(self, path: pathlib.Path, kind: str, **measured: float) -> None:
        """Writes `variant.json`.

        Args:
            path: Directory of the variant.
            kind: Its kind.
            **measured: What was found when it was made.
        """
        described = {
            "kind": kind,
            "inputs": sorted(self.inputs),
            "outputs": {
                name: [tensor.dtype.name, tensor.shape.as_list()]
                for name, tensor in self.function.structured_outputs.items()
            },
            "labels": self.labels,
            **measured,
        }
        text = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
        (path / DESCRIPTION_FILE).write_text(text, encoding="utf-8")


def write_numeric_part(
    model: keras.Model,
    path: pathlib.Path,
    examples: Mapping[str, Sequence],
    **options: Any,
) -> NumericPart:
    """Traces what is to be converted, and writes the preprocessing beside it.

    Args:
        model: A model of `kmmft.models` with `serve`.
        path: Directory of the variant.
        examples: Real raw inputs by name; the first four are checked.
        **options: `max_pixels` and `strict`, as in `export_model`.

    Returns:
        The part.

    Raises:
        ValueError: If the model has no single `serve`.
    """
    if not (hasattr(model, "serve") and hasattr(model, "preprocess")):
        raise ValueError(
            "Only a model with `serve` and `preprocess` becomes a LiteRT or ONNX "
            f"model. Received: a {type(model).__name__}. Convert its parts."
        )
    preprocess = export_preprocessing(model, path / PREPROCESS, examples, **options)
    return NumericPart(*_numeric_function(model), preprocess)


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
