"""How well scores of all items foretell the one that a user chose next."""

from collections.abc import Sequence

import numpy as np


def next_item_gains(
    scores: np.ndarray,
    targets: Sequence[int],
    seen: Sequence[Sequence[int]] | None = None,
    k: int = 10,
) -> dict[str, np.ndarray]:
    """Hit, NDCG and reciprocal rank of each user's next item, among all items.

    With one right item NDCG is `1 / log2(rank + 1)`, or 0 beyond the first k. Items of
    equal score are tied, and each number is its mean over all orders of the tied: an
    item is not first because all scores are alike.

    Args:
        scores: float array `(users, items)`, higher is better.
        targets: The item that each user chose, int `(users,)`.
        seen: Items of each user that are not recommended again; the target is none.
        k: Length of the list that a user is shown.

    Returns:
        float64 arrays `(users,)`: `hit_rate_at_<k>`, `ndcg_at_<k>`,
        `reciprocal_rank`. Their means are the metrics.

    Raises:
        ValueError: If shapes do not fit, a score is NaN, a target was seen, or k is not
            positive.

    Example:
        >>> scores = np.array([[0.9, 0.5, 0.7], [0.2, 0.2, 0.8]])
        >>> gains = kmmft.metrics.next_item_gains(scores, [2, 0], seen=[[0], []], k=2)
        >>> gains["hit_rate_at_2"], gains["ndcg_at_2"].round(3)
        (array([1. , 0.5]), array([1.   , 0.315]))

    References:
        - [He et al., 2017](https://arxiv.org/abs/1708.05031), section 4.1
          (leave-one-out, HR and NDCG).
        - [McSherry and Najork, 2008](https://doi.org/10.1007/978-3-540-78646-7_38)
          (ties).
    """
    scores = np.array(scores, np.float64)
    targets = np.asarray(targets)
    _check(scores, targets, k)
    rows = np.arange(len(targets))
    for row, items in enumerate([] if seen is None else seen):
        if targets[row] in np.asarray(items, np.int64):
            raise ValueError(
                "What a user has seen must not hold the item to be found. Received: "
                f"item {targets[row]} of row {row} in `seen`. Leave it out."
            )
        scores[row, np.asarray(items, np.int64)] = -np.inf
    own = scores[rows, targets][:, np.newaxis]
    above = (scores > own).sum(axis=1)
    tied = (scores == own).sum(axis=1)
    ranks = np.arange(1, scores.shape[1] + 1)
    of_rank = {
        f"hit_rate_at_{k}": ranks <= k,
        f"ndcg_at_{k}": np.where(ranks <= k, 1 / np.log2(ranks + 1), 0.0),
        "reciprocal_rank": 1 / ranks,
    }
    return {
        name: _mean_over_ties(gains, above, tied) for name, gains in of_rank.items()
    }


def _mean_over_ties(
    gains: np.ndarray, above: np.ndarray, tied: np.ndarray
) -> np.ndarray:
    total = np.concatenate([[0.0], np.cumsum(gains, dtype=np.float64)])
    return (total[above + tied] - total[above]) / tied


def _check(scores: np.ndarray, targets: np.ndarray, k: int) -> None:
    if scores.ndim != 2 or targets.shape != scores.shape[:1]:
        raise ValueError(
            "Scores must be (users, items) and there must be a target for each user. "
            f"Received: shapes {scores.shape} and {targets.shape}."
        )
    if (
        not np.issubdtype(targets.dtype, np.integer)
        or not ((targets >= 0) & (targets < scores.shape[1])).all()
    ):
        raise ValueError(
            f"Targets must be items, integers from 0 to {scores.shape[1] - 1}. "
            f"Received: {targets[:5]}, ..."
        )
    if np.isnan(scores).any() or k < 1:
        raise ValueError(
            "Scores must be numbers, and k at least 1. Received: "
            f"{int(np.isnan(scores).sum())} NaN, k={k}."
        )
