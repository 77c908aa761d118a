"""The few messages of TensorFlow Serving's gRPC API, written and read by hand.

So a client needs neither TensorFlow nor the package tensorflow-serving-api, which asks
for it. Field numbers are those of `tensorflow_serving/apis/predict.proto` and
`model.proto`, and of `tensorflow/core/framework/tensor.proto`; the encoding is that of
protocol buffers, https://protobuf.dev/programming-guides/encoding.
"""

import itertools
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Number of each type in TensorFlow's DataType, and its format in `struct`.
TYPES = {
    "float32": (1, "f"),
    "float64": (2, "d"),
    "int32": (3, "i"),
    "string": (7, ""),
    "int64": (9, "q"),
    "bool": (10, "?"),
}
_NAMES = {number: name for name, (number, _) in TYPES.items()}
# Fields of a TensorProto that hold values one by one.
_VALUE_FIELDS = {5: "f", 6: "d", 7: "", 10: "", 11: ""}


def text_or_bytes(value: bytes) -> str | bytes:
    """Text, where it is UTF-8."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value


def _varint(value: int) -> bytes:
    value &= 2**64 - 1
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def message(number: int, content: bytes) -> bytes:
    """A field that holds a message, a string or bytes."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _integer(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def encode_tensor(values: Sequence, dtype: str, rank: int) -> bytes:
    """A `tensorflow.TensorProto` of nested lists.

    Args:
        values: Nested lists of numbers, `str` or `bytes`.
        dtype: A name in `TYPES`.
        rank: Number of axes.

    Raises:
        ValueError: If the lists are not nested that deep, or are ragged.
    """
    shape, flat = [], [values]
    for _ in range(rank):
        lengths = {len(part) if _is_list(part) else None for part in flat} or {0}
        if len(lengths) > 1 or None in lengths:
            raise ValueError(
                f"Inputs must be lists nested {rank} deep, equally long. "
                f"Received: {str(values)[:200]}."
            )
        shape.append(lengths.pop())
        flat = list(itertools.chain.from_iterable(flat))
    number, form = TYPES[dtype]
    sizes = b"".join(message(2, _integer(1, size)) for size in shape)
    head = _integer(1, number) + message(2, sizes)
    if dtype == "string":
        items = (item.encode() if isinstance(item, str) else item for item in flat)
        return head + b"".join(message(8, item) for item in items)
    return head + message(4, struct.pack(f"<{len(flat)}{form}", *flat))


def _is_list(value: Any) -> bool:
    return not isinstance(value, str | bytes) and hasattr(value, "__len__")


def encode_predict_request(
    model: str,
    signature: str,
    tensors: Mapping[str, bytes],
    version: int | None = None,
    label: str | None = None,
) -> bytes:
    """A `tensorflow.serving.PredictRequest`; tensors are encoded already."""
    spec = message(1, model.encode()) + message(3, signature.encode())
    if version is not None:
        spec += message(2, _integer(1, version))
    if label is not None:
        spec += message(4, label.encode())
    inputs = (
        message(2, message(1, name.encode()) + message(2, tensor))
        for name, tensor in tensors.items()
    )
    return message(1, spec) + b"".join(inputs)


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Number and content of each field; numbers of fixed width stay bytes."""
    place = 0
    while place < len(data):
        key, place = _read_varint(data, place)
        kind = key & 7
        if kind == 0:
            value, place = _read_varint(data, place)
        else:
            length = {1: 8, 5: 4}.get(kind)
            if length is None:
                length, place = _read_varint(data, place)
            value, place = data[place : place + length], place + length
        yield key >> 3, value


def decode_predict_response(data: bytes) -> dict[str, Any]:
    """Nested lists by name, of a `tensorflow.serving.PredictResponse`."""
    outputs = {}
    for number, content in _fields(data):
        if number == 1:
            entry = dict(_fields(content))
            outputs[entry[1].decode()] = decode_tensor(entry.get(2, b""))
    return outputs


def decode_tensor(data: bytes) -> Any:
    """Nested lists, of a `tensorflow.TensorProto`."""
    dtype, shape, flat = "float32", [], []
    for number, content in _fields(data):
        if number == 1:
            dtype = _NAMES[content]
        elif number == 2:
            sizes = [size for field, size in _fields(content) if field == 2]
            shape = [dict(_fields(size)).get(1, 0) for size in sizes]
        elif number == 4:
            form = TYPES[dtype][1]
            flat += [value for (value,) in struct.iter_unpack(f"<{form}", content)]
        elif number == 8:
            flat.append(text_or_bytes(content))
        elif number in _VALUE_FIELDS:
            flat += _values(content, _VALUE_FIELDS[number], dtype)
    count = 1
    for size in shape:
        count *= size
    # What is left out at the end equals the last value.
    rest = {"string": "", "bool": False}.get(dtype, 0)
    flat += [flat[-1] if flat else rest] * (count - len(flat))
    return _nested(flat, shape) if shape else flat[0]


def _nested(flat: list, shape: Sequence[int]) -> list:
    if len(shape) == 1:
        return flat
    step = len(flat) // max(shape[0], 1)
    parts = [flat[i * step : (i + 1) * step] for i in range(shape[0])]
    return [_nested(part, shape[1:]) for part in parts]


def _values(content: Any, form: str, dtype: str) -> list:
    if form:
        return [value for (value,) in struct.iter_unpack(f"<{form}", content)]
    numbers, place = [], 0
    if isinstance(content, int):
        numbers = [content]
    while not isinstance(content, int) and place < len(content):
        value, place = _read_varint(content, place)
        numbers.append(value)
    if dtype == "bool":
        return [bool(value) for value in numbers]
    return [value - 2**64 if value >= 2**63 else value for value in numbers]
