"""How near predicted numbers are to the right ones."""

from collections.abc import Sequence

import numpy as np


def regression_metrics(
    targets: Sequence[float], predictions: Sequence[float]
) -> dict[str, float]:
    """Errors and correlations of predicted numbers.

    Args:
        targets: The right numbers, `(examples,)`.
        predictions: Those that were predicted, in the same order.

    Returns:
        dict: `mae` and `rmse`, in units of the targets; `r2`, the share of their
        variance that is explained; `pearson` and `spearman`, in [-1, 1]. Correlations
        of constant numbers are NaN, and so is `r2` for constant targets; of one
        example all three.

    Raises:
        ValueError: If there are no examples, their numbers differ, or a number is not
            finite.

    Example:
        >>> scores = kmmft.metrics.regression_metrics([1, 2, 4], [1, 3, 4])
        >>> round(scores["mae"], 3), round(scores["spearman"], 3)
        (0.333, 1.0)

    References:
        - [Spearman, 1904](https://doi.org/10.2307/1412159) (correlation of ranks;
          equal numbers share their mean rank).
    """
    targets, predictions = (
        np.asarray(values, np.float64) for values in (targets, predictions)
    )
    if targets.ndim != 1 or targets.shape != predictions.shape or not targets.size:
        raise ValueError(
            "There must be one prediction a target, and at least one. Received: "
            f"targets {targets.shape}, predictions {predictions.shape}."
        )
    if not (np.isfinite(targets).all() and np.isfinite(predictions).all()):
        raise ValueError(
            "Targets and predictions must be finite. Received: NaN or infinity. Look "
            "at the data, or at the training loss."
        )
    errors = predictions - targets
    variance = float(np.var(targets))
    return {
        "mae": float(np.abs(errors).mean()),
        "rmse": float(np.sqrt((errors**2).mean())),
        "r2": 1 - float((errors**2).mean()) / variance if variance else np.nan,
        "pearson": _correlation(targets, predictions),
        "spearman": _correlation(_ranks(targets), _ranks(predictions)),
    }


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    if not (np.ptp(one) and np.ptp(other)):
        return np.nan
    return float(np.corrcoef(one, other)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]
