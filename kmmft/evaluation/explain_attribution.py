"""How much each part of an input adds to a score: gradients and occlusion."""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

Score = Callable[[Mapping[str, tf.Tensor]], tf.Tensor]

_FIRST_STEPS = 16
_CHUNK = 32


def integrated_gradients(
    score: Score,
    inputs: Mapping[str, np.ndarray],
    baselines: Mapping[str, np.ndarray],
    tolerance: float = 1e-3,
    max_steps: int = 1024,
) -> tuple[dict[str, np.ndarray], float]:
    """Gradients of a score along the straight way from baselines to inputs.

    Every input moves at once, so that the attributions of all of them together add up
    to the score's difference from its baseline (completeness). The integral is
    Gauss and Legendre's, with twice as many points until it does.

    Args:
        score: From float tensors `(n, ...)` by name to a float tensor `(n,)`.
        inputs: float arrays by name, without batch axis.
        baselines: Likewise, of the same shapes.
        tolerance: Allowed error, a share of the difference (at least of 1).
        max_steps: The integral's largest number of points.

    Returns:
        Attributions of the inputs' shapes by name, and the error that is left, in
        units of the score.

    Example:
        >>> from kmmft.evaluation.explain_attribution import integrated_gradients
        >>> weights = tf.constant([2.0, -1.0])
        >>> parts, error = integrated_gradients(
        ...     lambda x: tf.linalg.matvec(x["x"], weights),
        ...     {"x": np.array([1.0, 3.0], "float32")},
        ...     {"x": np.zeros(2, "float32")})
        >>> parts["x"]
        array([ 2., -3.])

    References:
        - [Sundararajan et al., 2017](https://arxiv.org/abs/1703.01365), eq. 1 and
          proposition 1.
    """
    ends = {name: np.stack([baselines[name], inputs[name]]) for name in inputs}
    low, high = score({k: tf.constant(v) for k, v in ends.items()}).numpy()
    difference = float(high) - float(low)
    steps = _FIRST_STEPS
    while True:
        slopes = _mean_gradients(score, ends, steps)
        parts = {k: slopes[k] * (ends[k][1] - ends[k][0]) for k in ends}
        error = abs(sum(part.sum() for part in parts.values()) - difference)
        if error <= tolerance * max(1.0, abs(difference)) or 2 * steps > max_steps:
            return parts, error
        steps *= 2


def _mean_gradients(score, ends, steps) -> dict[str, np.ndarray]:
    points, weights = np.polynomial.legendre.leggauss(steps)
    places = (points + 1) / 2
    total = {name: np.zeros(pair.shape[1:]) for name, pair in ends.items()}
    for at in range(0, steps, _CHUNK):
        part = places[at : at + _CHUNK]
        way = {
            name: tf.constant(
                [low + p * (high - low) for p in part], dtype=tf.as_dtype(low.dtype)
            )
            for name, (low, high) in ends.items()
        }
        with tf.GradientTape() as tape:
            tape.watch(way)
            scores = score(way)
        slopes = tape.gradient(scores, way, unconnected_gradients="zero")
        for name, slope in slopes.items():
            weight = weights[at : at + _CHUNK] / 2
            total[name] += np.tensordot(weight, slope.numpy().astype("float64"), 1)
    return total


def occlusion(
    score: Score,
    inputs: Mapping[str, np.ndarray],
    baselines: Mapping[str, np.ndarray],
    parts: Mapping[str, list[np.ndarray]],
) -> dict[str, np.ndarray]:
    """How far a score falls when one part of an input becomes its baseline's.

    Args:
        score: As for `integrated_gradients`.
        inputs: Likewise.
        baselines: Likewise.
        parts: By name, bool arrays that broadcast to the input: what to hide.

    Returns:
        float arrays `(number of parts,)` by name.

    References:
        - [Zeiler & Fergus, 2013](https://arxiv.org/abs/1311.2901), section 4.2.
    """
    whole = float(score({k: tf.constant(v[np.newaxis]) for k, v in inputs.items()})[0])
    falls = {}
    for name, hidden in parts.items():
        scores = []
        for at in range(0, len(hidden), _CHUNK):
            chunk = hidden[at : at + _CHUNK]
            batch = {k: np.stack([v] * len(chunk)) for k, v in inputs.items()}
            batch[name] = np.stack(
                [np.where(part, baselines[name], inputs[name]) for part in chunk]
            )
            scores.append(score({k: tf.constant(v) for k, v in batch.items()}).numpy())
        falls[name] = whole - np.concatenate(scores or [np.zeros(0)])
    return falls


def grad_cam(features: tf.Tensor, gradients: tf.Tensor) -> np.ndarray:
    """Where in a feature map lies what raises a score.

    Args:
        features: float tensor `(height, width, channels)`.
        gradients: The score's gradients with respect to it.

    Returns:
        float array `(height, width)`, not negative.

    References:
        - [Selvaraju et al., 2016](https://arxiv.org/abs/1610.02391), eq. 1 and 2.
    """
    weights = tf.reduce_mean(gradients, axis=(0, 1))
    return tf.nn.relu(tf.tensordot(features, weights, 1)).numpy()
