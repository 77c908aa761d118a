"""Answers raw inputs with an exported model or one of its variants."""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from kmmft.export.graph_ops import load_text_ops
from kmmft.serving.converted_model import DESCRIPTION_FILE, ConvertedModel
from kmmft.serving.served_model import model_file


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
        directory: A version, or a base directory of versions, of which the highest is
            taken.

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
    numbers = [int(p.name) for p in path.glob("*/") if p.name.isdecimal()]
    if model_file(path) is None and numbers:
        path = path / str(max(numbers))
    file = model_file(path)
    if file is None:
        raise ValueError(
            "There must be an exported model. Received: "
            f"{str(directory)!r}, without saved_model.pb or {DESCRIPTION_FILE}."
        )
    load_text_ops()
    if file.name == DESCRIPTION_FILE:
        return LoadedVariant(ConvertedModel(path))
    loaded = tf.saved_model.load(str(path))

    def answer(**raw):
        return loaded.signatures["serving_default"](**raw)

    return LoadedVariant(answer)  # which keeps `loaded` alive, and so its variables
