"""Answers raw rows with a LiteRT or ONNX model and the preprocessing beside it."""

import json
import pathlib
import threading
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

LITERT_FILE = "model.tflite"
ONNX_FILE = "model.onnx"
DESCRIPTION_FILE = "variant.json"
PREPROCESS = "preprocess"
THREADS = 2

Arrays = dict[str, np.ndarray]


class ConvertedModel:
    """A variant that `kmmft.export.write_litert` or `write_onnx` wrote.

    The preprocessing decodes images and cuts texts into tokens, as a SavedModel; the
    converted model answers with two threads. tensorflow_text must have been imported.

    Args:
        directory: Directory of the version, which holds `variant.json`.

    Attributes:
        structured_input_signature: As of a concrete function: an empty tuple, and the
            specs of the raw inputs by name.
        structured_outputs: Specs of the outputs by name.

    Raises:
        ImportError: If it is an ONNX model, without `pip install 'kmmft[onnx]'`.
        ValueError: If there is no such model, or it cannot be opened.
    """

    def __init__(self, directory: pathlib.Path):
        described = json.loads((directory / DESCRIPTION_FILE).read_text("utf-8"))
        # Kept, since its function does not keep its tables.
        self._loaded = tf.saved_model.load(str(directory / PREPROCESS / "1"))
        self._prepare = self._loaded.signatures["serving_default"]
        self._takes = described["inputs"]
        self._run = _runner(directory)
        self._labels = None
        self.structured_input_signature = self._prepare.structured_input_signature
        self.structured_outputs = {
            name: tf.TensorSpec(shape, dtype, name)
            for name, (dtype, shape) in described["outputs"].items()
        }
        if described["labels"] is not None:
            self._labels = np.array([x.encode() for x in described["labels"]], object)
            self.structured_outputs["label"] = tf.TensorSpec([None], tf.string)
        if "error" in self._prepare.structured_outputs:
            self.structured_outputs["error"] = tf.TensorSpec([None], tf.string)

    def __call__(self, **raw: tf.Tensor) -> Arrays:
        """Answers a batch.

        Args:
            **raw: Tensors of raw inputs by name, all with as many rows.

        Returns:
            Arrays by name; those of bad rows are zeros and empty strings.
        """
        prepared = {name: x.numpy() for name, x in self._prepare(**raw).items()}
        outputs = self._answer({name: prepared[name] for name in self._takes})
        if self._labels is not None:
            best = outputs["probabilities"].argmax(axis=-1)
            outputs["label"] = self._labels[best]
        if "error" not in prepared:
            return outputs
        bad = prepared["error"] != b""
        for value in outputs.values():
            value[bad] = b"" if value.dtype == object else 0
        return {**outputs, "error": prepared["error"]}

    def _answer(self, inputs: Arrays) -> Arrays:
        if all(map(len, inputs.values())):
            return dict(self._run(**inputs))
        # An empty batch becomes one empty row, since some kernels refuse none.
        blank = {k: np.zeros((1, *x.shape[1:]), x.dtype) for k, x in inputs.items()}
        return {name: value[:0] for name, value in self._run(**blank).items()}


def _runner(directory: pathlib.Path) -> Callable[..., Mapping[str, np.ndarray]]:
    if (directory / ONNX_FILE).exists():
        return _onnx_runner(directory / ONNX_FILE)
    interpreter = tf.lite.Interpreter(
        model_path=str(directory / LITERT_FILE), num_threads=THREADS
    )
    answer, lock = interpreter.get_signature_runner(), threading.Lock()

    def run(**inputs):
        with lock:  # it has one set of tensors
            return answer(**inputs)

    return run


def _onnx_runner(file: pathlib.Path) -> Callable[..., Mapping[str, np.ndarray]]:
    session = onnx_session(file, THREADS)
    names = [output.name for output in session.get_outputs()]

    def run(**inputs):
        return dict(zip(names, session.run(names, inputs), strict=True))

    return run


def onnx_session(file: pathlib.Path, threads: int):
    """Opens a file with onnxruntime on the CPU.

    Args:
        file: The file.
        threads: Threads of an operation.

    Returns:
        An `onnxruntime.InferenceSession`.

    Raises:
        ImportError: Without `pip install 'kmmft[onnx]'`.
        ValueError: If the file is not valid.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            f"{error}. ONNX variants need: pip install 'kmmft[onnx]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait in a loop would take the cores from the preprocessing.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # a class of its own for each reason
        raise ValueError(
            f"onnxruntime must open an ONNX file. Received: {str(error)[:1000]}. Use "
            "another variant."
        ) from error
