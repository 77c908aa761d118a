"""What a served model is to compare live requests with: its training data."""

import json
import pathlib
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from kmmft.serving.drift_monitor import FILE
from kmmft.serving.drift_statistics import reference_of, row_statistics

# Fewer rows say more of themselves than of the data.
FEWEST_ROWS = 50


def write_drift_reference(
    directory: pathlib.Path,
    functions: Mapping[str, Callable[..., Mapping[str, tf.Tensor]]],
    requests: Mapping[str, Mapping[str, tf.Tensor]],
    batch_size: int = 32,
) -> pathlib.Path:
    """Writes `assets.extra/drift_reference.json` beside a model.

    The exported model answers the rows, and of requests and answers it keeps how the
    statistics of `kmmft.serving.drift_statistics` are distributed; no row itself.

    Args:
        directory: The SavedModel.
        functions: Its signatures, by name.
        requests: Inputs of each signature that is to be watched, by signature and
            input name: a sample of the training data, some hundred rows.
        batch_size: How many rows are run at a time.

    Returns:
        The file.

    Raises:
        ValueError: If there are fewer than 50 rows.
    """
    references = {}
    for signature, inputs in requests.items():
        arrays = {name: np.asarray(value) for name, value in inputs.items()}
        count = min(map(len, arrays.values()))
        if count < FEWEST_ROWS:
            raise ValueError(
                f"Drift is told from {FEWEST_ROWS} rows of training data, better some "
                f"hundred. Received: {count} rows for {signature!r}."
            )
        parts = []
        for start in range(0, count, batch_size):
            part = {k: x[start : start + batch_size] for k, x in arrays.items()}
            answers = functions[signature](
                **{name: tf.constant(value) for name, value in part.items()}
            )
            answers = {name: value.numpy() for name, value in answers.items()}
            parts.append(row_statistics(part, answers))
        found = {
            name: np.concatenate([part[name] for part in parts]) for name in parts[0]
        }
        references[signature] = {
            name: reference_of(values) for name, values in found.items() if len(values)
        }
    path = directory / "assets.extra" / FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(references))
    return path
