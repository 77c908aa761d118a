"""The mean of several fine-tuned models: as good as an ensemble, as cheap as one."""

import logging
import math
import os
import pathlib
import warnings
from collections.abc import Callable, Sequence

import keras
import numpy as np

from kmmft.finetuning.named_parts import named_variables
from kmmft.finetuning.weight_interpolation import old_weights_on_error

logger = logging.getLogger(__name__)


def uniform_soup(model: keras.Model, weight_files: Sequence[str | os.PathLike]) -> None:
    """Gives a model the mean of the weights in files.

    The files should be of one pretrained model, fine-tuned with different rates, seeds
    or augmentations: their mean is often better than the best of them. Weights are
    averaged in float32, BatchNorm's statistics too (`update_batch_norm` finds better
    ones). What is no floating-point number is that of the first file. Memory holds
    two copies of the weights beside the model, however many files there are. The
    state of the model's optimizer is of no use afterwards.

    Args:
        model: Built model of the same architecture.
        weight_files: Files of `model.save_weights`, `*.weights.h5`.

    Raises:
        ValueError: If there is no file, a file is named twice, or one does not fit
            the model. Then the model has the weights that it had.

    Example:
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> files = ["1.weights.h5", "2.weights.h5"]
        >>> for bias, file in zip([1.0, 4.0], files):
        ...     model.set_weights([np.zeros((1, 1)), np.array([bias])])
        ...     model.save_weights(file)
        >>> kmmft.finetuning.uniform_soup(model, files)
        >>> model.layers[0].bias.numpy()
        array([2.5], dtype=float32)

    References:
        - [Wortsman et al., 2022](https://arxiv.org/abs/2203.05482), section 2
          (uniform soup).
    """
    files = _checked(model, weight_files)
    with old_weights_on_error(model):
        soup = _Soup(model)
        for file in files:
            _load(model, file)
            soup.add()
        soup.serve()


def greedy_soup(
    model: keras.Model,
    weight_files: Sequence[str | os.PathLike],
    evaluate: Callable[[keras.Model], float],
) -> list[dict]:
    """Gives a model the mean of those weights in files that make it better.

    Each file is measured alone. From the best one down, a file is taken if with it
    the mean is at least as good as without, so the soup is never worse than the best
    file on the data of `evaluate`. See `uniform_soup` for the rest.

    Args:
        model: Built model of the same architecture.
        weight_files: Files of `model.save_weights`, `*.weights.h5`.
        evaluate: Measures the model; higher is better. Use validation data that the
            files were not trained on. NaN counts as worst.

    Returns:
        One dict for each file, the best first: `file`, `score` alone, `soup_score` of
        the mean with it, and `taken`. The soup's score is the `soup_score` of the last
        one that was taken.

    Raises:
        ValueError: If there is no file, a file is named twice, one does not fit the
            model, or no score is a number. Then, and if `evaluate` fails, the model
            has the weights that it had.

    Example:
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> files = ["1.weights.h5", "4.weights.h5", "9.weights.h5"]
        >>> for bias, file in zip([1.0, 4.0, 9.0], files):
        ...     model.set_weights([np.zeros((1, 1)), np.array([bias])])
        ...     model.save_weights(file)
        >>> def evaluate(model):
        ...     return -abs(float(model.layers[0].bias[0]) - 2)
        >>> rows = kmmft.finetuning.greedy_soup(model, files, evaluate)
        >>> [(row["file"], row["taken"]) for row in rows]
        [('1.weights.h5', True), ('4.weights.h5', True), ('9.weights.h5', False)]
        >>> model.layers[0].bias.numpy()
        array([2.5], dtype=float32)

    References:
        - [Wortsman et al., 2022](https://arxiv.org/abs/2203.05482), recipe 1.
    """
    files = _checked(model, weight_files)
    with old_weights_on_error(model):
        scores = {}
        for file in files:
            _load(model, file)
            scores[file] = _number(evaluate(model))
        if max(scores.values()) == -math.inf:
            raise ValueError(
                "Some file must have a score. Received: none that is a number, of "
                f"{[str(file) for file in files]}. Look at what `evaluate` measures."
            )
        # Sorting keeps the order of equals.
        order = sorted(files, key=scores.get, reverse=True)
        soup, rows, best = _Soup(model), [], -math.inf
        for file in order:
            _load(model, file)
            # The mean of one is the file itself.
            score = scores[file]
            if rows:
                soup.serve_with()
                score = _number(evaluate(model))
            taken = not rows or score >= best
            if taken:
                if rows:
                    # Again: keeping it would be a third copy in memory.
                    _load(model, file)
                soup.add()
                best = score
            rows.append(
                {
                    "file": str(file),
                    "score": scores[file],
                    "soup_score": score,
                    "taken": taken,
                }
            )
        soup.serve()
    logger.info("Of %d files the soup took %d", len(rows), soup.count)
    return rows


class _Soup:
    """The mean of the weights that the model had when `add` was called."""

    def __init__(self, model: keras.Model):
        self.variables = named_variables(model)
        self.means = {}
        self.count = 0

    def add(self) -> None:
        for path, variable in self.variables.items():
            self.means[path] = self._mean_with(path, variable)
        self.count += 1

    def serve(self) -> None:
        for path, variable in self.variables.items():
            variable.assign(self.means[path].astype(variable.dtype))

    def serve_with(self) -> None:
        """Gives the model the mean of what was added and what it has now."""
        for path, variable in self.variables.items():
            variable.assign(self._mean_with(path, variable).astype(variable.dtype))

    def _mean_with(self, path: str, variable: keras.Variable) -> np.ndarray:
        value, mean = variable.numpy(), self.means.get(path)
        if not keras.backend.is_float_dtype(variable.dtype):
            return np.array(value) if mean is None else mean
        # At least float32; weights of float64 stay so.
        value = np.array(value, np.result_type(value, np.float32))
        if mean is None:
            return value
        return mean + (value - mean) / value.dtype.type(self.count + 1)


def _number(score: float) -> float:
    return -math.inf if math.isnan(score) else float(score)


def _checked(model: keras.Model, weight_files: Sequence) -> list[pathlib.Path]:
    """The files, after a look whether each can be of this model."""
    if isinstance(weight_files, str | os.PathLike):
        raise ValueError(
            "`weight_files` must be several files. Received: one, "
            f"{str(weight_files)!r}. Put it into a list."
        )
    files = [pathlib.Path(file) for file in weight_files]
    twice = sorted({str(file) for file in files if files.count(file) > 1})
    if not files or twice:
        raise ValueError(
            "A soup needs files, each once. Received: "
            f"{f'{twice} more than once' if twice else 'no file'}. Name those that "
            "`model.save_weights` wrote."
        )
    weights = len(model.weights)
    for file in files:
        count = _count_arrays(file)
        # Keras itself does not mind a file that holds more than the model.
        if count > weights:
            raise _does_not_fit(file, f"it holds {count} weights, the model {weights}")
    return files


def _count_arrays(file: pathlib.Path) -> int:
    import h5py

    names = []
    try:
        with h5py.File(file) as content:
            content.visititems(
                lambda name, item: (
                    names.append(name) if isinstance(item, h5py.Dataset) else None
                )
            )
    except OSError as error:
        raise _does_not_fit(file, str(error)) from error
    return sum(not name.startswith("optimizer/") for name in names)


def _load(model: keras.Model, file: pathlib.Path) -> None:
    try:
        with warnings.catch_warnings():
            # The optimizer's state may be missing, or that of other weights.
            warnings.filterwarnings("ignore", message="Skipping variable loading")
            # Layers would keep the weights of the file before.
            warnings.filterwarnings("error", message="Skipping nested container")
            model.load_weights(file)
    except (ValueError, KeyError, OSError, UserWarning) as error:
        raise _does_not_fit(file, str(error).partition("\n")[0]) from error


def _does_not_fit(file: pathlib.Path, reason: str) -> ValueError:
    return ValueError(
        f"Each file must hold the weights of the model. Received: {str(file)!r}: "
        f"{reason}. Give files `*.weights.h5` that `save_weights` wrote for the same "
        "architecture."
    )
