"""The files of a search index."""

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from kmmft.training.whole_files import write_whole

FILE = "index.json"


def write_index(
    path: pathlib.Path, vectors: np.ndarray, described: Mapping[str, Any]
) -> None:
    """Writes vectors and what belongs to them, over an older index, in one step.

    Args:
        path: Directory; made if it is not there.
        vectors: float32 array `(number, dim)`.
        described: What JSON can hold.
    """
    path.mkdir(parents=True, exist_ok=True)
    vectors = np.ascontiguousarray(vectors)
    digest = hashlib.sha256(vectors).hexdigest()[:16]
    file = path / f"vectors-{digest}.npy"
    if not file.exists():
        temporary = path / f".{file.name}.{os.getpid()}"
        with temporary.open("wb") as stream:
            np.save(stream, vectors)
        temporary.replace(file)
    described = {"vectors": file.name, "shape": vectors.shape, **described}
    write_whole(path / FILE, json.dumps(described))
    for old in path.glob("vectors-*.npy"):
        if old != file:
            old.unlink()


def read_index(path: pathlib.Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Reads what `write_index` wrote. Vectors stay on disk until they are used.

    Args:
        path: Directory.

    Returns:
        The vectors and what belongs to them.

    Raises:
        ValueError: If there is no index, or it is not whole.
    """
    try:
        described = json.loads((path / FILE).read_text(encoding="utf-8"))
        vectors = np.load(path / described["vectors"], mmap_mode="r")
        if list(vectors.shape) != described["shape"]:
            raise ValueError(f"vectors are {vectors.shape}")
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"There must be an index that `save` wrote. Received: {path} "
            f"({error}). Build the index again."
        ) from error
    return vectors, described
