"""Whether two sets of vectors come from one distribution: MMD."""

from typing import NamedTuple

import numpy as np

from kmmft.metrics.vector_sets import vector_sets


class MeanDiscrepancy(NamedTuple):
    """How far apart two sets of vectors are, and how often chance goes as far.

    Attributes:
        squared: Unbiased estimate of the squared maximum mean discrepancy; about 0,
            also below, for sets of one distribution.
        p_value: Share of random divisions of all rows with as large a value.
        bandwidth: Of the kernel.
    """

    squared: float
    p_value: float
    bandwidth: float


def mean_discrepancy(
    first: np.ndarray,
    second: np.ndarray,
    bandwidth: float | None = None,
    permutations: int = 500,
    seed: int = 0,
) -> MeanDiscrepancy:
    """Maximum mean discrepancy of two sets of vectors, with a permutation test.

    For drift of embeddings: it sees every change of a distribution, also those that
    leave each number by itself as it was, which a stability index of single numbers
    does not. The kernel is `exp(-distance^2 / (2 bandwidth^2))`. Time and memory grow
    with the square of the rows: take some hundred, up to a few thousand.

    Args:
        first: float array `(rows, dim)`, two rows or more.
        second: Likewise, with as many columns.
        bandwidth: Of the kernel; default: the median distance of all rows.
        permutations: Random divisions of all rows. No p-value is below
            `1 / (permutations + 1)`.
        seed: Seed of these.

    Returns:
        `MeanDiscrepancy`.

    Raises:
        ValueError: If the sets are too small, of different width, or not finite, or a
            number is not positive.

    Example:
        >>> first = np.random.default_rng(0).normal(size=(100, 2))
        >>> found = kmmft.metrics.mean_discrepancy(first[:50], first[50:] + 1)
        >>> found.squared > 0.1, round(found.p_value, 3)
        (True, 0.002)

    References:
        - [Gretton et al., 2012](https://jmlr.org/papers/v13/gretton12a.html), eq. 3
          (unbiased estimate), section 8 (median distance).
        - [Phipson & Smyth, 2010](https://arxiv.org/abs/1603.05766), eq. 2 (a p-value
          that is never 0).
    """
    first, second = vector_sets(first, second)
    if permutations < 1 or (bandwidth is not None and not bandwidth > 0):
        raise ValueError(
            "`bandwidth` and `permutations` must be positive. Received: "
            f"bandwidth={bandwidth}, permutations={permutations}."
        )
    rows = np.concatenate([first, second])
    squares = _squared_distances(rows)
    if bandwidth is None:
        bandwidth = _median_distance(squares)
    kernel = np.exp(-squares / (2 * bandwidth**2))
    # A row's likeness to itself does not count.
    np.fill_diagonal(kernel, 0)
    mine = (np.arange(len(rows)) < len(first)).astype(float)
    random = np.random.default_rng(seed)
    divisions = random.permuted(np.tile(mine, (permutations, 1)), axis=1)
    found, *others = _squared_discrepancies(kernel, np.vstack([mine, divisions]))
    # Equal divisions may differ by rounding.
    as_large = np.sum(np.asarray(others) >= found - 1e-12)
    p_value = (1 + as_large) / (1 + permutations)
    return MeanDiscrepancy(float(found), float(p_value), float(bandwidth))


def _squared_distances(rows: np.ndarray) -> np.ndarray:
    rows = rows - rows.mean(axis=0)  # or large numbers would hide small distances
    lengths = np.sum(rows**2, axis=1)
    squares = lengths[:, None] + lengths - 2 * rows @ rows.T
    np.fill_diagonal(squares, 0)
    return np.maximum(squares, 0)


def _median_distance(squares: np.ndarray) -> float:
    distances = np.sqrt(squares[np.triu_indices(len(squares), 1)])
    # Where most rows are alike, those that are not say what is far.
    return np.median(distances) or np.mean(distances) or 1.0


def _squared_discrepancies(kernel: np.ndarray, mine: np.ndarray) -> np.ndarray:
    """One estimate for each row of `mine`, which is 1 for the first set's rows."""
    m = mine[0].sum()
    n = len(kernel) - m
    among_mine = np.einsum("pi,pi->p", mine @ kernel, mine)
    across = mine @ kernel.sum(axis=1) - among_mine
    among_others = kernel.sum() - among_mine - 2 * across
    return (
        among_mine / (m * (m - 1)) + among_others / (n * (n - 1)) - 2 * across / (m * n)
    )
