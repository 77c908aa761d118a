"""A few examples that lie near all others."""

import numpy as np

_CHUNK_ROWS = 1024


def core_set(
    features: np.ndarray, centers: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Chooses rows that cover the others: greedy k-center.

    Each time the row is taken whose nearest center is farthest away, and becomes a
    center itself. The largest distance that is left is at most twice the least one
    that as many rows could leave. It needs no classifier: for the first labels too.

    Args:
        features: float array `(examples, dim)` to choose from.
        centers: float array `(labelled, dim)` of what is labelled already; may have no
            rows: then the row nearest to the mean is the first.
        count: How many rows to choose, no more than there are.

    Returns:
        int64 rows `(count,)` in the order in which they were taken, and float64
        distances `(count,)` to the center that was nearest then; infinity for a first
        row without centers.

    Raises:
        ValueError: If shapes do not fit, there are fewer rows than `count`, or a
            feature is not finite.

    Example:
        >>> line = np.array([[0.0], [1.0], [5.0], [9.0]])
        >>> rows, distances = kmmft.evaluation.core_set(line, np.array([[0.0]]), 2)
        >>> rows, distances
        (array([3, 2]), array([9., 4.]))

    References:
        - [Sener & Savarese, 2017](https://arxiv.org/abs/1708.00489), algorithm 1.
        - [Gonzalez, 1985](https://doi.org/10.1016/0304-3975(85)90224-5) (the bound).
    """
    x, centers = np.asarray(features, np.float64), np.asarray(centers, np.float64)
    _check(x, centers, count)
    nearest = np.full(len(x), np.inf)
    for start in range(0, len(centers), _CHUNK_ROWS):
        part = centers[start : start + _CHUNK_ROWS]
        # |x - c|^2 = |x|^2 - 2 x c + |c|^2, without an array of all differences.
        squares = (part**2).sum(1) - 2 * x @ part.T
        np.minimum(nearest, squares.min(axis=1) + (x**2).sum(1), out=nearest)
    np.maximum(nearest, 0.0, out=nearest)
    rows, distances = [], []
    for _ in range(count):
        row = int(nearest.argmax())
        if not len(centers) and not rows:
            row = int(((x - x.mean(axis=0)) ** 2).sum(1).argmin())
        rows.append(row)
        distances.append(np.sqrt(nearest[row]))
        np.minimum(nearest, ((x - x[row]) ** 2).sum(1), out=nearest)
        # Of equal examples each is taken once.
        nearest[row] = -1.0
    return np.array(rows, np.int64), np.array(distances, np.float64)


def _check(x: np.ndarray, centers: np.ndarray, count: int) -> None:
    if x.ndim != 2 or centers.ndim != 2 or x.shape[1] != centers.shape[1]:
        raise ValueError(
            "`features` and `centers` must be of shape (rows, dim) with the same dim. "
            f"Received: shapes {x.shape} and {centers.shape}."
        )
    if not 1 <= count <= len(x):
        raise ValueError(
            f"`count` must be from 1 to the number of rows. Received: {count} of "
            f"{len(x)} rows."
        )
    broken = sum((~np.isfinite(rows)).any(axis=1).sum() for rows in (x, centers))
    if broken:
        raise ValueError(
            "A core set needs finite features. Received: NaN or infinity in "
            f"{broken} rows. Did the training diverge?"
        )
