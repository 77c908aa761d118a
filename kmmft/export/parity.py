"""Compares a model in this process with its export in a fresh one."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from kmmft.export import run_saved_model

TIMEOUT_SECONDS = 1800


def answers_in_process(
    function: tf.types.experimental.ConcreteFunction,
    inputs: Mapping[str, tf.Tensor],
) -> dict[str, np.ndarray]:
    """Runs one traced signature on the CPU, where its export will be run too.

    The second answers are given. With a fixed seed, random numbers begin alike in
    every process, so that the first answers could agree with the export's by chance.
    """
    with tf.device("CPU:0"):
        function(**inputs)
        outputs = function(**inputs)
    return {
        name: (
            tf.cast(value, tf.float32)
            if value.dtype in (tf.bfloat16, tf.float16)
            else value
        ).numpy()
        for name, value in outputs.items()
    }


def answers_in_fresh_process(
    directory: pathlib.Path, requests: Mapping[str, Mapping[str, tf.Tensor]]
) -> dict[str, dict[str, list]]:
    """Runs an exported model's signatures in a process without Keras.

    Args:
        directory: The SavedModel.
        requests: Inputs of each signature, by signature and input name.

    Returns:
        The outputs as nested lists, by signature and output name.

    Raises:
        ValueError: If the model cannot be run there.
    """
    body = [
        {
            "signature_name": name,
            "inputs": {
                key: run_saved_model.to_json(tensor.numpy().tolist())
                for key, tensor in inputs.items()
            },
        }
        for name, inputs in requests.items()
    ]
    # GPUs round differently, and this process may hold all of their memory.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = (pathlib.Path(folder, name) for name in ("in", "out"))
        asked.write_text(json.dumps(body))
        # -P keeps this package's folder off the import path.
        command = [sys.executable, "-P", run_saved_model.__file__, str(directory)]
        command += ["--requests", str(asked), "--responses", str(answered)]
        result = subprocess.run(
            command,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=TIMEOUT_SECONDS,
        )
        if result.returncode:
            raise ValueError(
                "An exported model must run in a process with TensorFlow alone. "
                f"Received: exit status {result.returncode}, {result.stderr[-2000:]} "
                "Use only TensorFlow and tensorflow_text ops in the signatures."
            )
        responses = json.loads(answered.read_text())
    return {
        name: {
            key: run_saved_model.from_json(value)
            for key, value in response["outputs"].items()
        }
        for name, response in zip(requests, responses, strict=True)
    }


def largest_difference(expected: np.ndarray, received: Sequence) -> tuple[float, int]:
    """Compares one output of a signature with that of its export.

    Args:
        expected: The output in this process.
        received: The export's output, as nested lists.

    Returns:
        The largest absolute difference and its row. Strings differ by 0 or by
        infinity; so do numbers where only one side is NaN, and unequal shapes.

    Example:
        >>> kmmft.export.largest_difference(np.array([[1.0], [2.0]]), [[1.0], [2.5]])
        (0.5, 1)
    """
    if expected.dtype == object:
        return _first_unequal_row(expected.tolist(), received)
    other = np.asarray(received, expected.dtype)
    if other.shape != expected.shape:
        return float("inf"), 0
    if not expected.size:
        return 0.0, 0
    with np.errstate(invalid="ignore"):
        gap = np.abs(expected.astype(np.float64) - other.astype(np.float64))
    if expected.dtype.kind in "iub":
        gap = np.maximum(gap, 1.0)  # large integers may be one in float64
    same = (expected == other) | (np.isnan(expected) & np.isnan(other))
    gap = np.where(same, 0.0, np.where(np.isnan(gap), np.inf, gap))
    rows = gap.reshape(len(gap), -1).max(axis=1)
    return float(rows.max()), int(rows.argmax())


def _first_unequal_row(expected: list, received: list) -> tuple[float, int]:
    # Lists, because NumPy's bytes type drops trailing zero bytes.
    if expected == received:
        return 0.0, 0
    if len(expected) != len(received):
        return float("inf"), 0
    pairs = enumerate(zip(expected, received, strict=True))
    return float("inf"), next(row for row, (a, b) in pairs if a != b)


def compare(
    expected: Mapping[str, Mapping[str, np.ndarray]],
    received: Mapping[str, Mapping[str, Sequence]],
    tolerance: float,
    requests: Mapping[str, Mapping[str, tf.Tensor]] | None = None,
) -> dict[str, dict[str, float]]:
    """Compares all outputs of all signatures with those of the export.

    Args:
        expected: Outputs in this process, by signature and output name.
        received: Outputs of the export as nested lists, by the same names.
        tolerance: Largest absolute difference of a number that is let pass.
        requests: Inputs of each signature, by the same names, for the error message.

    Returns:
        The largest absolute difference, by signature and output name.

    Raises:
        ValueError: If a difference is over the tolerance, or a string differs.

    Example:
        >>> expected = {"serving_default": {"answer": np.array([b"red"], object)}}
        >>> kmmft.export.compare(expected, {"serving_default": {"answer": [b"red"]}}, 0)
        {'serving_default': {'answer': 0.0}}
    """
    report = {}
    for signature, outputs in expected.items():
        report[signature] = {}
        for output, value in sorted(outputs.items()):
            other = received[signature][output]
            difference, row = largest_difference(value, other)
            if difference > tolerance:
                asked = _describe((requests or {}).get(signature, {}), row)
                raise ValueError(
                    "An export must answer as the model in this process does, to "
                    f"within {tolerance:g}. Received: a difference of {difference:g} "
                    f"in output {output!r} of signature {signature!r}, input row "
                    f"{row}{asked}. Look for state that the graph does not carry: "
                    "random numbers, unsaved variables, or a Python value read at "
                    "tracing."
                )
            report[signature][output] = difference
    return report


def _describe(inputs: Mapping[str, tf.Tensor], row: int) -> str:
    """One row of a request: texts as they are, bytes by length and checksum."""
    parts = []
    for name, values in inputs.items():
        value = values[row].numpy()
        if isinstance(value, bytes) and not value[:100].isascii():
            checksum = hashlib.sha256(value).hexdigest()[:12]
            value = f"{len(value)} bytes, SHA-256 {checksum}..."
        parts.append(f"{name}: {str(value)[:100]}")
    return f" ({'; '.join(parts)})" if parts else ""
