"""Asks an exported model from a process that has TensorFlow alone."""

import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from kmmft.export.parity import answers_in_fresh_process


def ask_in_fresh_process(
    directory: str | os.PathLike,
    inputs: Mapping[str, Sequence],
    signature: str = "serving_default",
) -> dict[str, np.ndarray]:
    """Runs an exported model where Keras and kmmft cannot be imported.

    Args:
        directory: The SavedModel, such as `export/1`.
        inputs: By input name, a sequence of image bytes or of texts.
        signature: Signature to run.

    Returns:
        Arrays by output name; strings are bytes.

    Raises:
        ValueError: If the model cannot be run there.
    """
    requests = {signature: {k: tf.convert_to_tensor(v) for k, v in inputs.items()}}
    (answers,) = answers_in_fresh_process(pathlib.Path(directory), requests).values()
    return {name: np.asarray(value) for name, value in answers.items()}
