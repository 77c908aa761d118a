"""Reads an old PyTorch checkpoint without PyTorch, and without running its code."""

import collections
import pathlib
import pickle
from typing import BinaryIO

import numpy as np

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001
_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
}


def read_legacy_checkpoint(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Reads a `.pth` file written by PyTorch before 1.6: a dict of tensors.

    The file is a row of pickles and then the raw numbers. Unpickling is held to
    tensors and their containers, so that a file from a stranger cannot run code.

    Args:
        path: The checkpoint.

    Returns:
        dict of tensor name to contiguous array.

    Raises:
        ValueError: If the file is of another format or holds anything else.
    """
    try:
        with open(path, "rb") as file:
            return _read(file)
    except (pickle.UnpicklingError, EOFError, KeyError) as error:
        raise ValueError(
            "`path` must be a checkpoint of tensors in PyTorch's format before 1.6. "
            f"Received: {path} ({error}). Save it again with "
            "`torch.save(state_dict, path, _use_new_zipfile_serialization=False)`"
        ) from error


class _Storage:
    """The flat numbers that one or more tensors look into."""

    def __init__(self, dtype: str, size: int):
        self.dtype = np.dtype(dtype)
        self.size = size
        self.values = None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO):
        super().__init__(file)
        self.storages = {}

    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *parts: parts[:4]
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed")

    def persistent_load(self, identifier: tuple) -> _Storage:
        _, dtype, key, _, size, *_ = identifier
        return self.storages.setdefault(key, _Storage(dtype, size))


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
    if _Unpickler(file).load() != _MAGIC_NUMBER:
        raise pickle.UnpicklingError("no magic number")
    if _Unpickler(file).load() != _PROTOCOL_VERSION:
        raise pickle.UnpicklingError("unknown protocol version")
    _Unpickler(file).load()  # word sizes of the machine that wrote it
    unpickler = _Unpickler(file)
    tensors = unpickler.load()
    for key in _Unpickler(file).load():
        storage = unpickler.storages[key]
        if int.from_bytes(file.read(8), "little") != storage.size:
            raise pickle.UnpicklingError(f"storage {key} has another size")
        raw = file.read(storage.size * storage.dtype.itemsize)
        if len(raw) != storage.size * storage.dtype.itemsize:
            raise EOFError("the file ends early")
        storage.values = np.frombuffer(raw, storage.dtype)
    return {name: _to_array(*parts) for name, parts in tensors.items()}


def _to_array(
    storage: _Storage, offset: int, shape: tuple, strides: tuple
) -> np.ndarray:
    # Kernels that came from TensorFlow are stored transposed, so strides matter.
    steps = zip(shape, strides, strict=True)
    last = offset + sum((n - 1) * stride for n, stride in steps)
    if min((offset, *shape, *strides)) < 0 or (0 not in shape and last >= storage.size):
        raise pickle.UnpicklingError("a tensor reaches out of its storage")
    view = np.lib.stride_tricks.as_strided(
        storage.values[offset:],
        shape,
        [stride * storage.dtype.itemsize for stride in strides],
    )
    return np.ascontiguousarray(view)
