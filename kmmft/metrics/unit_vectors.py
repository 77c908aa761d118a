"""Vectors as cosines want them."""

import numpy as np


def unit_vectors(name: str, vectors: np.ndarray) -> np.ndarray:
    """Divides vectors by their lengths, after checking that they are vectors.

    Args:
        name: What to call them in an error.
        vectors: float array `(number, dim)`.

    Returns:
        float32 array `(number, dim)` of rows of length 1. A zero vector stays zero: it
        is as near to everything.

    Raises:
        ValueError: If the shape is another one, there is no vector, or one is not
            finite.

    Example:
        >>> kmmft.metrics.unit_vectors("texts", [[3.0, 4.0]]).tolist() == [
        ...     [np.float32(0.6), np.float32(0.8)]
        ... ]
        True
    """
    vectors = np.asarray(vectors, np.float32)
    if vectors.ndim != 2 or not vectors.size:
        raise ValueError(
            f"`{name}` must be an array of vectors, (number, dim), and at least one. "
            f"Received: shape {vectors.shape}. Stack the vectors in rows."
        )
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(lengths))
    if bad.size:
        raise ValueError(
            f"`{name}` must be finite numbers. Received: {bad.size} vectors that are "
            f"not, the first in row {bad[0]}. Look at the loss, and at what that row "
            "was made from."
        )
    return vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
