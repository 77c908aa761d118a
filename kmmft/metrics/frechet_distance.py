"""How far apart two sets of vectors lie, as two normal distributions."""

import numpy as np

from kmmft.metrics.vector_sets import vector_sets


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Fréchet distance between the normal distributions of two sets of vectors.

    With the features of an Inception network it is FID; with those of any other
    encoder it compares pictures by what that encoder sees. It is biased for small
    sets: compare only sets of equal sizes.

    Args:
        first: float array `(rows, dim)`, two rows or more.
        second: Likewise.

    Returns:
        The distance, 0 for equal means and covariances.

    Raises:
        ValueError: If the sets are too small, of different width, or not finite.

    Example:
        >>> first = np.random.default_rng(0).normal(size=(100, 2))
        >>> round(kmmft.metrics.frechet_distance(first, first + [3.0, 4.0]), 4)
        25.0

    References:
        - [Heusel et al., 2017](https://arxiv.org/abs/1706.08500), eq. 6.
    """
    first, second = vector_sets(first, second)
    means = first.mean(0) - second.mean(0)
    one, other = (np.atleast_2d(np.cov(rows.T)) for rows in (first, second))
    # The root of a product of covariances has the eigenvalues' roots for its trace;
    # so does this symmetric matrix, whose eigenvalues are real in spite of rounding.
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other @ root), 0)).sum()
    return float(means @ means + np.trace(one) + np.trace(other) - 2 * roots)
