"""Checks of two sets of vectors that are to be compared."""

import numpy as np


def vector_sets(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sets as float64 arrays `(rows, dim)`, two rows or more.

    Raises:
        ValueError: If the sets are too small, of different width, or not finite.
    """
    first, second = (np.asarray(rows, np.float64) for rows in (first, second))
    shapes = first.shape, second.shape
    fits = all(len(shape) == 2 and shape[0] >= 2 for shape in shapes)
    if not fits or first.shape[1] != second.shape[1]:
        raise ValueError(
            "Two sets of at least two equally wide vectors can be compared. "
            f"Received: shapes {shapes[0]} and {shapes[1]}."
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("Vectors must be finite. Received: NaN or infinity.")
    return first, second
