"""The ball in which perturbations stay: directions, steps and projections."""

import dataclasses

import tensorflow as tf

NORMS = ("l2", "inf")


@dataclasses.dataclass(frozen=True)
class NormBall:
    """All perturbations of an example whose norm is at most `radius`.

    Args:
        radius: Largest norm.
        norm: `"l2"`, the root of the sum of squares, or `"inf"`, the largest entry.
        per_token: Whether each vector along the last axis has a ball of its own,
            instead of each example.

    Raises:
        ValueError: If `radius` is negative or the norm unknown.

    Example:
        >>> ball = NormBall(1.0)
        >>> ball.project(tf.constant([[3.0, 4.0], [0.0, 0.5]])).numpy()
        array([[0.6, 0.8],
               [0. , 0.5]], dtype=float32)
    """

    radius: float
    norm: str = "l2"
    per_token: bool = False

    def __post_init__(self):
        if self.radius < 0 or self.norm not in NORMS:
            raise ValueError(
                f"The radius must not be negative and `norm` must be one of {NORMS}. "
                f"Received: {self.radius} and norm={self.norm!r}."
            )

    def direction(self, gradient: tf.Tensor) -> tf.Tensor:
        """Where the linearised loss rises fastest, with norm 1; zeros for zeros.

        Args:
            gradient: float32 tensor `(batch, ...)` of any scale.
        """
        # An overflow of float16 leaves the step out; its loss stays a number.
        gradient = tf.where(tf.math.is_finite(gradient), gradient, 0.0)
        if self.norm == "inf":
            return tf.sign(gradient)
        # Squares of small gradients would vanish.
        largest = tf.reduce_max(tf.abs(gradient), self._axes(gradient), keepdims=True)
        gradient = tf.math.divide_no_nan(gradient, largest)
        return tf.math.divide_no_nan(gradient, self._length(gradient))

    def project(self, delta: tf.Tensor) -> tf.Tensor:
        """The nearest perturbation in the ball."""
        if self.norm == "inf":
            return tf.clip_by_value(delta, -self.radius, self.radius)
        length = self._length(delta)
        return tf.where(
            length > self.radius,
            delta * tf.math.divide_no_nan(self.radius, length),
            delta,
        )

    def random(self, seed: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Uniform numbers in the ball: FreeLB's start.

        Args:
            seed: int32 tensor `(2,)`.
            mask: float32 tensor of the perturbation's shape: 0 where it must be zero.
        """
        delta = tf.random.stateless_uniform(
            tf.shape(mask), seed, -self.radius, self.radius
        )
        if self.norm == "l2":
            count = tf.reduce_sum(mask, self._axes(mask), keepdims=True)
            delta *= tf.math.rsqrt(tf.maximum(count, 1.0))
        return delta * mask

    def _length(self, tensor: tf.Tensor) -> tf.Tensor:
        squares = tf.reduce_sum(tf.square(tensor), self._axes(tensor), keepdims=True)
        return tf.sqrt(squares)

    def _axes(self, tensor: tf.Tensor) -> list[int]:
        return [-1] if self.per_token else list(range(1, len(tensor.shape)))
