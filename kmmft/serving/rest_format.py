"""The JSON of TensorFlow Serving's predict API, read and written."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from kmmft.serving.request_error import RequestError


class RestRequest(NamedTuple):
    """What a body asks for.

    Attributes:
        signature: Name of the signature.
        inputs: Nested lists by name; `None` is the name of a single input that came
            without one.
        by_row: Whether the answer is to be given row by row (`instances`).
    """

    signature: str
    inputs: dict[str | None, Any]
    by_row: bool


def read_body(body: bytes) -> RestRequest:
    """Reads a request in row format (`instances`) or in column format (`inputs`).

    Args:
        body: JSON; `{"b64": "..."}` stands for bytes.

    Raises:
        RequestError: If it is no such JSON.

    References:
        - [TensorFlow Serving's REST API](https://www.tensorflow.org/tfx/serving/api_rest#predict_api)
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"The body must be JSON. Received: {error}.") from error
    if not isinstance(request, dict) or ("instances" in request) == (
        "inputs" in request
    ):
        raise RequestError(
            "The body must be an object with either `instances` or `inputs`. "
            f"Received: {_kind(request)}."
        )
    unknown = set(request) - {"signature_name", "instances", "inputs"}
    if unknown:
        raise RequestError(f"The body has unknown keys: {sorted(unknown)}.")
    signature = request.get("signature_name") or "serving_default"
    if not isinstance(signature, str):
        raise RequestError(
            f"`signature_name` must be a string. Received: {_kind(signature)}."
        )
    if "inputs" in request:
        given = request["inputs"]
        named = isinstance(given, dict) and set(given) != {"b64"}
        columns = given if named else {None: given}
        inputs = {name: _decoded(value, name) for name, value in columns.items()}
        return RestRequest(signature, inputs, by_row=False)
    return RestRequest(signature, _columns(request["instances"]), by_row=True)


def _columns(rows: Any) -> dict[str | None, list]:
    if not isinstance(rows, list) or not rows:
        raise RequestError(
            f"`instances` must be a list of rows, one or more. Received: {_kind(rows)}."
        )
    named = isinstance(rows[0], dict) and set(rows[0]) != {"b64"}
    if not named:
        return {None: [_decoded(row, f"instances[{i}]") for i, row in enumerate(rows)]}
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or set(row) != set(rows[0]):
            raise RequestError(
                "All rows must have the same inputs. Received: row 0 with "
                f"{sorted(rows[0])} and row {number} with {_kind(row)}."
            )
    return {
        name: [_decoded(row[name], f"{name}, row {i}") for i, row in enumerate(rows)]
        for name in rows[0]
    }


def _decoded(value: Any, place: str | None) -> Any:
    if isinstance(value, list):
        return [_decoded(item, place) for item in value]
    if isinstance(value, dict):
        if set(value) != {"b64"} or not isinstance(value["b64"], str):
            raise RequestError(
                'Bytes must be {"b64": "..."}. '
                f"Received for input {place!r}: {_kind(value)}."
            )
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise RequestError(
                f"Input {place!r} must be valid base64. Received: {error}."
            ) from error
    if value is None:
        raise RequestError(f"Input {place!r} must have a value. Received: null.")
    return value


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with the keys {sorted(map(str, value))[:10]}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return f"{type(value).__name__} {str(value)[:50]!r}"


def write_body(outputs: Mapping[str, np.ndarray], by_row: bool) -> bytes:
    """Writes an answer: `predictions` row by row, or `outputs` by column.

    A single output comes without its name. Strings are text; those whose name ends
    with `_bytes`, and those that are no UTF-8, come as `{"b64": "..."}`.

    Args:
        outputs: Arrays by name, all with as many rows.
        by_row: Which of the two.
    """
    columns = {name: _jsonable(name, array) for name, array in outputs.items()}
    if by_row:
        names, rows = list(columns), zip(*columns.values(), strict=True)
        predictions = [dict(zip(names, row, strict=True)) for row in rows]
        if len(names) == 1:
            predictions = [row[names[0]] for row in predictions]
        return json.dumps({"predictions": predictions}).encode()
    if len(columns) == 1:
        return json.dumps({"outputs": next(iter(columns.values()))}).encode()
    return json.dumps({"outputs": columns}).encode()


def _jsonable(name: str, array: np.ndarray) -> Any:
    if array.dtype != object:
        return array.tolist()
    as_bytes = name.endswith("_bytes")

    def item(value):
        if isinstance(value, list):
            return [item(part) for part in value]
        if not as_bytes:
            try:
                return value.decode("utf-8")
            except UnicodeDecodeError:
                pass
        return {"b64": base64.b64encode(value).decode("ascii")}

    return item(array.tolist())
