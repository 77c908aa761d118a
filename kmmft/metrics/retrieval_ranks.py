"""Where each query's own candidates stand among all, without a whole score matrix."""

import dataclasses

import numpy as np
import tensorflow as tf

from kmmft.metrics.full_precision import full_precision

# Rounding errors of float32 cosines are below this.
TIE = 1e-6
TILE_COLUMNS = 2048
# With more thresholds than this in a row, sorting beats one comparison for each.
MAX_COMPARISONS = 32


@dataclasses.dataclass(frozen=True)
class Ranks:
    """How many candidates stand before the foremost right one of each query.

    Attributes:
        wrong_above: Wrong candidates that score higher, int array `(num_queries,)`.
        wrong_tied: Wrong candidates that score the same.
        right_tied: Right candidates that score the same, itself included.
        average_precision: float array, over all right candidates of the query.
    """

    wrong_above: np.ndarray
    wrong_tied: np.ndarray
    right_tied: np.ndarray
    average_precision: np.ndarray

    def first_rank(self) -> np.ndarray:
        """Mean rank of the foremost right candidate over all orders of the tied."""
        return self.wrong_above + 1 + self.wrong_tied / (self.right_tied + 1)

    def hit_within(self, k: int) -> np.ndarray:
        """Share of the orders of the tied in which one of the first k is right."""
        miss = np.ones(len(self.wrong_above))
        for place in range(k):
            wrong = np.maximum(self.wrong_tied - place, 0)
            wrong_here = wrong / (wrong + self.right_tied)
            # Places before the tied ones are filled with wrong ones.
            miss *= np.where(place < k - self.wrong_above, wrong_here, 1.0)
        return 1.0 - miss


def rank_right_candidates(
    queries: np.ndarray,
    candidates: np.ndarray,
    right: "RightCandidates",
    chunk_size: int,
) -> Ranks:
    """Compares all queries with all candidates, a tile of scores at a time.

    Args:
        queries: float32 array `(num_queries, dim)`, rows of length 1.
        candidates: float32 array `(num_candidates, dim)`, likewise.
        right: Which candidates belong to which query.
        chunk_size: Queries that are compared at a time.

    Returns:
        `Ranks`.
    """
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, len(candidates) + 1))])
    candidates = tf.constant(candidates)
    parts = []
    with full_precision():
        for start in range(0, len(queries), chunk_size):
            rows = slice(start, start + chunk_size)
            chunk = tf.constant(queries[rows])
            own = _own_scores(chunk, candidates, *right.columns(rows))
            above, tied = _counts(chunk, candidates, own)
            parts.append(_ranks(own, above, tied, harmonic))
    return Ranks(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


class RightCandidates:
    """The candidates of each query's group.

    Args:
        query_group: int array `(num_queries,)`.
        candidate_group: int array `(num_candidates,)`.
    """

    def __init__(self, query_group: np.ndarray, candidate_group: np.ndarray):
        self.order = np.argsort(candidate_group, kind="stable")
        grouped = candidate_group[self.order]
        self.start = np.searchsorted(grouped, query_group, side="left")
        self.count = np.searchsorted(grouped, query_group, side="right") - self.start

    def columns(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Positions `(queries, most)` of right candidates, and which of them count."""
        place = np.arange(self.count[rows].max())
        real = place < self.count[rows, np.newaxis]
        place = np.where(real, self.start[rows, np.newaxis] + place, 0)
        return self.order[place], real


def _own_scores(
    queries: tf.Tensor, candidates: tf.Tensor, columns: np.ndarray, real: np.ndarray
) -> np.ndarray:
    """Scores of right candidates, highest first; -inf where there are no more."""
    scores = [
        tf.reduce_sum(queries * tf.gather(candidates, column), axis=-1).numpy()
        for column in columns.T
    ]
    own = np.where(real, np.stack(scores, axis=-1), -np.inf).astype(np.float32)
    return -np.sort(-own, axis=-1)


def _counts(
    queries: tf.Tensor, candidates: tf.Tensor, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How many of all candidates score higher than each right one, and how many alike.

    The right one is among those that score alike.
    """
    above = np.zeros(own.shape, np.int64)
    at_least = np.zeros(own.shape, np.int64)
    for start in range(0, len(candidates), TILE_COLUMNS):
        tile = candidates[start : start + TILE_COLUMNS]
        scores = tf.matmul(queries, tile, transpose_b=True)
        if own.shape[1] > MAX_COMPARISONS:
            scores = tf.sort(scores, axis=-1)
            above += _higher_sorted(scores, own + TIE, "right")
            at_least += _higher_sorted(scores, own - TIE, "left")
            continue
        for place, score in enumerate(own.T):
            above[:, place] += _number(scores > score[:, np.newaxis] + TIE)
            at_least[:, place] += _number(scores >= score[:, np.newaxis] - TIE)
    return above, at_least - above


def _higher_sorted(scores: tf.Tensor, thresholds: np.ndarray, side: str) -> np.ndarray:
    lower = tf.searchsorted(scores, thresholds, side=side)
    return scores.shape[-1] - lower.numpy()


def _number(where: tf.Tensor) -> np.ndarray:
    # `count_nonzero` goes by int64, twice the memory.
    return tf.reduce_sum(tf.cast(where, tf.float32), axis=-1).numpy().astype(np.int64)


def _ranks(
    own: np.ndarray, above: np.ndarray, tied: np.ndarray, harmonic: np.ndarray
) -> tuple[np.ndarray, ...]:
    real = np.isfinite(own)
    rising = own[:, ::-1]
    right_above = _higher_sorted(rising, own + TIE, "right")
    right_tied = _higher_sorted(rising, own - TIE, "left") - right_above
    # The two scores of one candidate may be rounded to either side of a threshold.
    tied = np.maximum(tied, right_tied)
    precision = _precision(above, tied, right_above, right_tied, harmonic)
    average = np.sum(precision, axis=-1, where=real) / real.sum(axis=-1)
    wrong_tied = tied[:, 0] - right_tied[:, 0]
    return above[:, 0], wrong_tied, right_tied[:, 0], average


def _precision(
    above: np.ndarray,
    tied: np.ndarray,
    right_above: np.ndarray,
    right_tied: np.ndarray,
    harmonic: np.ndarray,
) -> np.ndarray:
    """Mean precision at a right candidate over its places among the tied.

    At place i of n tied, r of them right, of the i - 1 before it (r - 1)/(n - 1) are
    right on average. The sum over i of (R + 1 + (i - 1)(r - 1)/(n - 1)) / (s + i), with
    s candidates and R right ones above, is written with harmonic numbers.
    """
    last = np.minimum(above + tied, len(harmonic) - 1)
    slope = (right_tied - 1) / np.maximum(tied - 1, 1)
    constant = right_above + 1 - slope * (1 + above)
    return slope + constant * (harmonic[last] - harmonic[above]) / np.maximum(tied, 1)
