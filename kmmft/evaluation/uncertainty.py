"""How unsure a classifier is of its answers."""

import numpy as np

UNCERTAINTIES = ("entropy", "margin", "least_confidence")


def uncertainty(probabilities: np.ndarray, kind: str = "entropy") -> np.ndarray:
    """Scores answers, the least sure ones highest: for what to label next.

    Args:
        probabilities: float array `(examples, classes)`, rows that sum to 1.
        kind: `"entropy"`, -sum p log p in nats; `"margin"`, 1 minus the difference of
            the two highest probabilities; `"least_confidence"`, 1 minus the highest.

    Returns:
        float64 array `(examples,)`.

    Raises:
        ValueError: If there is no such kind, or a row is no distribution.

    Example:
        >>> kmmft.evaluation.uncertainty(
        ...     np.array([[0.5, 0.5, 0.0], [0.9, 0.1, 0.0]]), "margin")
        array([1. , 0.2])

    References:
        - [Settles, 2009](https://burrsettles.com/pub/settles.activelearning.pdf),
          section 3.1.
    """
    if kind not in UNCERTAINTIES:
        raise ValueError(
            f"`kind` must be one of {', '.join(UNCERTAINTIES)}. Received: {kind!r}."
        )
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or p.shape[1] < 2:
        raise ValueError(
            "`probabilities` must be of shape (examples, classes) with two classes or "
            f"more. Received: shape {p.shape}."
        )
    # Not finite ones fail the comparison too.
    bad = ~((np.abs(p.sum(axis=1) - 1) < 1e-3) & (p >= 0).all(axis=1))
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            "Each row of `probabilities` must sum to 1, of numbers that are not "
            f"negative. Received: {p[row].tolist()} in row {row}, one of {bad.sum()}. "
            "Did the training diverge?"
        )
    if kind == "entropy":
        return 0.0 - np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=1)
    highest = np.sort(p, axis=1)
    if kind == "least_confidence":
        return 1 - highest[:, -1]
    return 1 - (highest[:, -1] - highest[:, -2])
