"""Numbers that describe requests and answers, and how far two sets of them differ."""

import functools
from collections.abc import Mapping

import numpy as np

# Below this a bin counts as this, so that an empty one has a finite index.
_LEAST_SHARE = 1e-4
BINS = 10
_DIRECTIONS = 8


def row_statistics(
    inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Statistics of each row of a request and its answer.

    Of strings their length in bytes, of texts also their number of words and of
    letters beyond ASCII; of numbers the finite ones, and which are missing; of
    probabilities the largest; of other vectors their length and what they are along a
    few fixed random directions. Rows with an `error` are left out.

    Args:
        inputs: Arrays by name, as a signature takes them.
        outputs: Arrays by name, as it returns them.

    Returns:
        float arrays `(rows,)` by the name of the statistic; of a column's numbers there
        may be fewer.

    Example:
        >>> inputs = {"text": np.array([b"a red cat"], object)}
        >>> found = row_statistics(inputs, {"probability": np.array([0.5])})
        >>> {name: value.tolist() for name, value in found.items()}
        {'text/bytes': [9.0], 'text/words': [3.0], 'text/beyond_ascii': [0.0],
         'probability': [0.5]}
    """
    good = slice(None)
    if "error" in outputs:
        good = np.flatnonzero([not error for error in outputs["error"]])
    found = {}
    for name, array in inputs.items():
        array = array[good]
        if array.dtype == object and array.ndim == 1:
            found |= _of_strings(name, array)
        elif array.dtype.kind == "f" and array.ndim == 1:
            here = np.isfinite(array)
            found[f"{name}/missing"] = (~here).astype(float)
            found[name] = array[here].astype(float)
    for name, array in outputs.items():
        array = array[good]
        if array.dtype.kind == "f" and array.ndim <= 2:
            found |= _of_numbers(name, array)
    return found


def _of_strings(name: str, strings: np.ndarray) -> dict[str, np.ndarray]:
    found = {f"{name}/bytes": np.array([len(item) for item in strings], float)}
    # Encoded pictures have bytes that no text has.
    if not any(b"\0" in item[:64] for item in strings):
        words = [len(item.split()) for item in strings]
        beyond = [np.sum(np.frombuffer(item, np.uint8) > 127) for item in strings]
        found[f"{name}/words"] = np.array(words, float)
        found[f"{name}/beyond_ascii"] = np.array(beyond, float)
    return found


def _of_numbers(name: str, array: np.ndarray) -> dict[str, np.ndarray]:
    if array.ndim == 1:
        return {name: array.astype(float)}
    if name.startswith("prob"):
        return {f"{name}/largest": array.max(axis=1, initial=0).astype(float)}
    lengths = np.linalg.norm(array, axis=1)
    along = array @ _directions(array.shape[1]) / np.sqrt(array.shape[1])
    return {f"{name}/length": lengths.astype(float)} | {
        f"{name}/direction_{number}": along[:, number].astype(float)
        for number in range(_DIRECTIONS)
    }


@functools.cache
def _directions(dim: int) -> np.ndarray:
    # The same in each process.
    return np.random.default_rng(dim).normal(size=(dim, _DIRECTIONS))


def reference_of(values: np.ndarray) -> dict[str, list[float]]:
    """Bins that hold about equal shares of a sample, and the shares.

    Args:
        values: `(rows,)`.

    Returns:
        `edges` between the bins, without the two outermost, and `shares`.
    """
    quantiles = np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1])
    edges = np.unique(quantiles)
    return {"edges": edges.tolist(), "shares": _shares(values, edges).tolist()}


def population_stability(values: np.ndarray, reference: Mapping) -> float:
    """Population stability index of a sample against a reference.

    Args:
        values: `(rows,)`.
        reference: What `reference_of` returned.

    Returns:
        0 for equal shares. By custom, 0.1 is a small change and 0.25 a large one; a
        sample of n rows differs by about bins / n by chance alone.

    Example:
        >>> reference = reference_of(np.arange(100.0))
        >>> population_stability(np.arange(100.0), reference)
        0.0

    References:
        - [Yurdakul & Naranjo, 2020](https://doi.org/10.21314/JRMV.2020.227), eq. 1.
    """
    wanted = np.maximum(reference["shares"], _LEAST_SHARE)
    found = _shares(values, np.asarray(reference["edges"]))
    found = np.maximum(found, _LEAST_SHARE)
    return float(np.sum((found - wanted) * np.log(found / wanted)))


def _shares(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    # A value on an edge belongs to the bin below it.
    places = np.searchsorted(edges, values, side="left")
    return np.bincount(places, minlength=len(edges) + 1) / len(values)
