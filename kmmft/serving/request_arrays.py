"""From what a request holds to the arrays that a signature takes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kmmft.serving.limits import Limits
from kmmft.serving.request_error import RequestError

Arrays = dict[str, np.ndarray]


def request_arrays(
    specs: Mapping[str, tf.TensorSpec], values: Mapping[str, Any], limits: Limits
) -> Arrays:
    """Checks and converts the inputs of a request.

    Args:
        specs: What the signature takes, by name.
        values: Nested lists or arrays by name; strings are `str` or `bytes`.
        limits: What a request may ask for.

    Returns:
        Arrays by name, all with as many rows; strings as `bytes` objects.

    Raises:
        RequestError: If an input is missing or unknown, has another type or shape
            than the signature's, or goes beyond the limits. It names the input.
    """
    missing, unknown = set(specs) - set(values), set(values) - set(specs)
    if missing or unknown:
        raise RequestError(
            f"The inputs must be {sorted(specs)}. Missing: {sorted(missing)}, unknown: "
            f"{sorted(unknown)}."
        )
    arrays = {name: _array(name, spec, values[name]) for name, spec in specs.items()}
    _check_rows({name: len(array) for name, array in arrays.items()}, limits)
    for name, array in arrays.items():
        if array.dtype == object:
            _check_lengths(name, array, limits)
    return arrays


def _array(name: str, spec: tf.TensorSpec, value: Any) -> np.ndarray:
    wanted = f"Input {name!r} must be {spec.dtype.name} of shape {_shape(spec)}."
    if spec.dtype == tf.string:
        array = _strings(value, spec.shape.rank, wanted)
    else:
        array = _numbers(value, spec.dtype, wanted)
    if not spec.shape.is_compatible_with(array.shape):
        raise RequestError(f"{wanted} Received: shape {list(array.shape)}.")
    return array


def _strings(value: Any, rank: int, wanted: str) -> np.ndarray:
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "OSU":
            raise RequestError(f"{wanted} Received: {value.dtype}.")
        shape, flat = value.shape, value.ravel().tolist()
    else:
        shape, flat = _flattened(value, rank, wanted)
    for item in flat:
        if not isinstance(item, str | bytes):
            raise RequestError(f"{wanted} Received: {str(item)[:100]} for a string.")
    array = np.empty(len(flat), object)
    # A lone surrogate, which JSON can smuggle in, has no UTF-8.
    array[:] = [
        item.encode("utf-8", "replace") if isinstance(item, str) else item
        for item in flat
    ]
    return array.reshape(shape)


def _flattened(value: Any, rank: int, wanted: str) -> tuple[tuple[int, ...], list]:
    shape, flat = [], [value]
    for _ in range(rank):
        if not all(isinstance(part, list | tuple) for part in flat):
            raise RequestError(f"{wanted} Received: lists that are not nested so deep.")
        lengths = {len(part) for part in flat}
        if len(lengths) > 1:
            raise RequestError(f"{wanted} Received: lists of unequal lengths.")
        shape.append(lengths.pop() if lengths else 0)
        flat = [item for part in flat for item in part]
    return tuple(shape), flat


def _numbers(value: Any, dtype: tf.DType, wanted: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise RequestError(f"{wanted} Received: lists of unequal lengths.") from error
    kinds = "b" if dtype == tf.bool else "iu" if dtype.is_integer else "iuf"
    # An empty list has no type of its own.
    if array.size and array.dtype.kind not in kinds:
        raise RequestError(f"{wanted} Received: {_received(array)}.")
    numeric = dtype.as_numpy_dtype
    if dtype.is_integer and array.size:
        bounds = np.iinfo(numeric)
        if array.min() < bounds.min or array.max() > bounds.max:
            raise RequestError(f"{wanted} Received: a number that does not fit.")
    return array.astype(numeric)


def _received(array: np.ndarray) -> str:
    return {"U": "strings", "S": "strings", "O": "mixed values"}.get(
        array.dtype.kind, str(array.dtype)
    )


def _shape(spec: tf.TensorSpec) -> str:
    sizes = ["any" if size is None else str(size) for size in spec.shape]
    return f"({', '.join(sizes)})"


def _check_rows(rows: dict[str, int], limits: Limits) -> None:
    if len(set(rows.values())) > 1:
        raise RequestError(f"All inputs must have as many rows. Received: {rows}.")
    count = next(iter(rows.values()))
    if count == 0:
        raise RequestError("A request must have a row. Received: none.")
    if count > limits.rows:
        raise RequestError(
            f"A request may have {limits.rows} rows. Received: {count}; send several.",
            status=413,
        )


def _check_lengths(name: str, array: np.ndarray, limits: Limits) -> None:
    for number, row in enumerate(array):
        for item in np.ravel(row):
            # Images are told by their first bytes: a text has none of these.
            image = _is_image(item)
            longest = limits.image_bytes if image else limits.text_bytes
            if len(item) > longest:
                raise RequestError(
                    f"Input {name!r} may have {longest:,} bytes a "
                    f"{'picture' if image else 'text'}. Received: {len(item):,} in row "
                    f"{number}.",
                    status=413,
                )


def _is_image(item: bytes) -> bool:
    starts = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM")
    return item.startswith(starts)
