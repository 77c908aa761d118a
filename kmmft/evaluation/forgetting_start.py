"""What a model was at the start of fine-tuning, in memory or in a file."""

import dataclasses
import hashlib
import json
import os
import pathlib

import keras
import numpy as np
import tensorflow as tf

from kmmft.finetuning import named_layers, named_variables

FILE = "forgetting_start.npz"


@dataclasses.dataclass(frozen=True)
class ForgettingStart:
    """The start that a model is compared with.

    Args:
        weights: Weights by path.
        outputs: Pooled outputs of the batch by part of the model.
        scores: The probes' scores.
        parts: Names of all measured parts.
        settings: What must be the same afterwards, such as the batch's fingerprint.

    Example:
        >>> start = kmmft.evaluation.forgetting_start.ForgettingStart(
        ...     {"a/kernel": np.ones(2)}, {}, {"accuracy": 0.5}, ["a"], {"layers": "a"})
        >>> start.write("start")
        >>> kmmft.evaluation.forgetting_start.read_start("start").scores
        {'accuracy': 0.5}
    """

    weights: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    scores: dict[str, float]
    parts: list[str]
    settings: dict[str, str]

    def write(self, directory: str | os.PathLike) -> None:
        """Writes it under a temporary name and renames it: never half a file."""
        directory = pathlib.Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        temporary = directory / f".{FILE}.{os.getpid()}"
        rest = json.dumps([self.scores, self.parts, self.settings])
        arrays = {f"weights/{path}": value for path, value in self.weights.items()}
        arrays |= {f"outputs/{part}": value for part, value in self.outputs.items()}
        try:
            with temporary.open("wb") as file:
                np.savez(file, rest=np.array(rest), **arrays)
            temporary.replace(directory / FILE)
        finally:
            temporary.unlink(missing_ok=True)


def read_start(directory: str | os.PathLike) -> ForgettingStart | None:
    """Reads what `ForgettingStart.write` wrote, or gives `None` if there is nothing."""
    file = pathlib.Path(directory) / FILE
    if not file.exists():
        return None
    with np.load(file) as arrays:
        found = {"weights": {}, "outputs": {}}
        for key in arrays.files:
            kind, _, name = key.partition("/")
            if kind in found:
                found[kind][name] = arrays[key]
        scores, parts, settings = json.loads(str(arrays["rest"]))
    return ForgettingStart(scores=scores, parts=parts, settings=settings, **found)


def learnt_weights(model: keras.Model) -> dict[str, keras.Variable]:
    """Weights that training could change, frozen or not, by path.

    BatchNorm's statistics and counters are not among them.
    """
    learnt = {
        id(variable)
        for layer in [model, *named_layers(model).values()]
        for variable in layer._trainable_variables
    }
    return {
        path: variable
        for path, variable in named_variables(model).items()
        if id(variable) in learnt and keras.backend.is_float_dtype(variable.dtype)
    }


def copied(variable: keras.Variable) -> np.ndarray:
    """A weight's value as it is now, in a dtype that files can hold."""
    value = variable.numpy()
    # NumPy itself knows no bfloat16 or float8.
    known = value.dtype.kind == "f"
    return np.array(value, value.dtype if known else np.float32)


def fingerprint(batch) -> str:
    """A short text that differs between two batches."""
    digest = hashlib.sha256()
    for value in tf.nest.flatten(batch):
        value = np.ascontiguousarray(value)
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()[:16]
