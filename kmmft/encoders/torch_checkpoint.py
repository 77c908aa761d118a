"""Reads a PyTorch checkpoint without PyTorch, and without running its code."""

import collections
import io
import pathlib
import pickle
import zipfile
from typing import BinaryIO

import ml_dtypes
import numpy as np

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001
_DTYPES = {
    "BFloat16Storage": ml_dtypes.bfloat16,
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
}


def read_torch_checkpoint(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Reads a `.bin`, `.pt` or `.pth` file of PyTorch: a dict of tensors.

    Both the format since PyTorch 1.6, a zip archive, and the one before it are
    read, by the rules of `read_legacy_checkpoint`.

    Args:
        path: The checkpoint.

    Returns:
        dict of tensor name to contiguous array.

    Raises:
        ValueError: If the file is of another format or holds anything else.
    """
    if not zipfile.is_zipfile(path):
        return read_legacy_checkpoint(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_zip(archive)
    except (pickle.UnpicklingError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            "`path` must be a checkpoint of tensors that PyTorch wrote. "
            f"Received: {path} ({error}). Save `model.state_dict()` and nothing else"
        ) from error


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

    def fill(self, raw: bytes) -> None:
        if len(raw) != self.size * self.dtype.itemsize:
            raise EOFError("the file ends early")
        self.values = np.frombuffer(raw, self.dtype)


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


def _read_zip(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    names = archive.namelist()
    pickled = next((name for name in names if name.endswith("/data.pkl")), None)
    if pickled is None:
        raise pickle.UnpicklingError("no data.pkl")
    root = pickled.removesuffix("data.pkl")
    if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
        raise pickle.UnpicklingError("the numbers are big-endian")
    unpickler = _Unpickler(io.BytesIO(archive.read(pickled)))
    tensors = unpickler.load()
    for key, storage in unpickler.storages.items():
        storage.fill(archive.read(f"{root}data/{key}"))
    return _to_arrays(tensors)


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
        storage.fill(file.read(storage.size * storage.dtype.itemsize))
    return _to_arrays(tensors)


def _to_arrays(tensors: dict[str, tuple]) -> dict[str, np.ndarray]:
    if not isinstance(tensors, dict):
        raise pickle.UnpicklingError("no dict of tensors")
    for name, parts in tensors.items():
        if not isinstance(parts, tuple) or len(parts) != 4:
            raise pickle.UnpicklingError(f"{name!r} is no tensor")
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
