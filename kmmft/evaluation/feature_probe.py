"""How much a simple classifier finds in frozen features."""

import numpy as np


def feature_probe(features: np.ndarray, labels: np.ndarray, penalty: float = 1.0):
    """Leave-one-out accuracy of a ridge classifier on frozen features.

    Measured before and after fine-tuning on other data, the difference tells what
    the encoder has forgotten. It draws nothing at random and needs no test split:
    each example is classified by the ridge regression on all the others.

    Args:
        features: float array `(examples, dim)`. Made to mean 0 and mean norm 1 first.
        labels: int array `(examples,)`.
        penalty: Weight of the squared coefficients, against the sum of squared
            errors.

    Returns:
        float, the share of examples that are classified rightly.

    Raises:
        ValueError: If there are fewer than 2 classes, `penalty` is not positive, or a
            feature is not finite.

    Example:
        >>> kmmft.evaluation.feature_probe(
        ...     np.array([[0.0], [0.1], [1.0], [1.1]]), np.array([0, 0, 1, 1]))
        1.0

    References:
        - [Rifkin & Lippert, 2007](http://hdl.handle.net/1721.1/37318), eq. 11
          (leave-one-out errors in closed form).
    """
    classes, numbers = np.unique(labels, return_inverse=True)
    if len(classes) < 2 or penalty <= 0:
        raise ValueError(
            "A probe needs two classes or more, and a positive penalty. Received: "
            f"{len(classes)} classes, penalty={penalty}. Give other examples."
        )
    x = np.asarray(features, np.float64)
    broken = ~np.isfinite(x).all(axis=1)
    if broken.any():
        raise ValueError(
            "A probe needs finite features. Received: NaN or infinity in "
            f"{broken.sum()} of {len(x)} examples. Did the training diverge?"
        )
    x = x - x.mean(axis=0)
    x = x / max(np.linalg.norm(x, axis=1).mean(), 1e-12)
    # A constant feature, whose coefficient is hardly held back, is the intercept.
    x = np.concatenate([x, np.full((len(x), 1), 1e3)], axis=1)
    targets = np.eye(len(classes))[numbers]
    kernel = x @ x.T
    inverse = np.linalg.inv(kernel + penalty * np.eye(len(x)))
    errors = inverse @ targets / np.diag(inverse)[:, np.newaxis]
    left_out = targets - errors
    return float((left_out.argmax(axis=1) == numbers).mean())
