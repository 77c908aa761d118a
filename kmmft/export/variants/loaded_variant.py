"""Answers raw inputs with an exported model or one of its variants."""

import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from kmmft.export.graph_ops import load_text_ops
from kmmft.export.variants.litert import MODEL_FILE
from kmmft.export.variants.numeric_part import DESCRIPTION_FILE, PREPROCESS
from kmmft.export.variants.onnx_model import ONNX_FILE, onnx_session

THREADS = 2


class LoadedVariant:
    """An exported model in this process: raw bytes and strings in, arrays out.

    Args:
        function: From tensors of raw inputs by name to a dict of tensors or arrays.
        batch_size: How many rows are run at a time.
    """

    def __init__(self, function: Callable[..., Mapping], batch_size: int = 32):
        self.function = function
        self.batch_size = batch_size

    def __call__(self, raw: Mapping[str, Sequence]) -> dict[str, np.ndarray]:
        """Answers any number of rows.

        Args:
            raw: By name, sequences of image bytes or texts, of equal length.

        Returns:
            Arrays by output name; strings are bytes.

        Raises:
            ValueError: If the lengths differ, or there is no row.
        """
        lengths = {name: len(values) for name, values in raw.items()}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise ValueError(
                "All inputs must have the same number of rows, at least one. "
                f"Received: {lengths}."
            )
        parts = []
        for start in range(0, max(lengths.values()), self.batch_size):
            rows = slice(start, start + self.batch_size)
            batch = {name: tf.constant(values[rows]) for name, values in raw.items()}
            parts.append(self.function(**batch))
        return {
            name: np.concatenate([np.asarray(part[name]) for part in parts])
            for name in parts[0]
        }


def load_variant(directory: str | os.PathLike) -> LoadedVariant:
    """Loads an exported model, or a variant of `export_variants`.

    LiteRT and ONNX models run with two threads.

    Args:
        directory: A SavedModel, a base directory of versions (the highest is taken), or
            a LiteRT or ONNX variant.

    Returns:
        `LoadedVariant`.

    Raises:
        ImportError: If it is an ONNX variant, without `pip install 'kmmft[onnx]'`.
        ValueError: If there is no model.

    Example::

        answer = kmmft.export.load_variant("runs/quickstart/variants/litert_int8")
        answer({"image": [png_bytes], "question": ["what shape is it?"]})["label"]
    """
    path = pathlib.Path(directory)
    if (path / MODEL_FILE).exists():
        return LoadedVariant(_numeric_function(path, _litert_runner(path)))
    if (path / ONNX_FILE).exists():
        return LoadedVariant(_numeric_function(path, _onnx_runner(path)))
    numbers = [int(p.name) for p in path.glob("*/") if p.name.isdecimal()]
    if not (path / "saved_model.pb").exists() and numbers:
        path = path / str(max(numbers))
    if not (path / "saved_model.pb").exists():
        raise ValueError(
            "There must be an exported model. "
            f"Received: {str(directory)!r}, without {MODEL_FILE}, {ONNX_FILE} "
            "or saved_model.pb."
        )
    return LoadedVariant(_saved_model_function(path))


def _saved_model_function(path: pathlib.Path) -> Callable[..., Mapping]:
    load_text_ops()
    loaded = tf.saved_model.load(str(path))

    def answer(**raw):
        return loaded.signatures["serving_default"](**raw)

    return answer  # which keeps `loaded` alive, and so its variables


def _litert_runner(path: pathlib.Path) -> Callable[..., Mapping]:
    interpreter = tf.lite.Interpreter(
        model_path=str(path / MODEL_FILE), num_threads=THREADS
    )
    return interpreter.get_signature_runner()


def _onnx_runner(path: pathlib.Path) -> Callable[..., Mapping]:
    session = onnx_session(path / ONNX_FILE, THREADS)
    names = [output.name for output in session.get_outputs()]

    def run(**inputs):
        return dict(zip(names, session.run(names, inputs), strict=True))

    return run


def _numeric_function(
    path: pathlib.Path, run: Callable[..., Mapping]
) -> Callable[..., Mapping]:
    """Prepares raw inputs, runs a converted model, and names the labels."""
    described = json.loads((path / DESCRIPTION_FILE).read_text(encoding="utf-8"))
    prepare = _saved_model_function(path / PREPROCESS / "1")

    def answer(**raw):
        inputs = {name: value.numpy() for name, value in prepare(**raw).items()}
        outputs = dict(run(**{name: inputs[name] for name in described["inputs"]}))
        if described["labels"] is not None:
            labels = np.array([name.encode() for name in described["labels"]], object)
            outputs["label"] = labels[outputs["probabilities"].argmax(axis=-1)]
        if "error" not in inputs:
            return outputs
        bad = inputs["error"] != b""
        for value in outputs.values():
            value[bad] = b"" if value.dtype == object else 0
        return {**outputs, "error": inputs["error"]}

    return answer
