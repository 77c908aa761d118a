"""How much each task's loss counts: fixed numbers, uncertainty, GradNorm."""

from collections.abc import Mapping

import keras
import tensorflow as tf


class TaskWeights(keras.layers.Layer):
    """Base of what weighs the tasks' losses against each other.

    A subclass gives `begin_tasks` and `factors`, and may give `penalty`. Weights that
    it adds are the model's: they train with it, and checkpoints keep them.
    """

    def __init__(self, **kwargs):
        # Weights of losses are float32 under every dtype policy.
        super().__init__(**{**kwargs, "dtype": "float32"})

    def begin(self, scales: Mapping[str, float]) -> None:
        """Makes what depends on the tasks; a `MultiTask` calls it.

        Args:
            scales: By task, 1, or 1/2 where the loss is a squared error.

        Raises:
            ValueError: If the object has tasks already.
        """
        if self.built:
            raise ValueError(
                f"A {type(self).__name__} weighs the tasks of one model. Received: one "
                "that has tasks already. Make a new one."
            )
        self.begin_tasks(scales)
        self.built = True

    def begin_tasks(self, scales: Mapping[str, float]) -> None:
        """What `begin` does in a subclass."""
        raise NotImplementedError

    def factors(self) -> tf.Tensor:
        """What the losses are multiplied by, float32 `(tasks,)`."""
        raise NotImplementedError

    def penalty(self) -> tf.Tensor:
        """A term of the total loss besides, a float32 scalar."""
        return tf.zeros(())


@keras.saving.register_keras_serializable("kmmft")
class FixedWeights(TaskWeights):
    """Weights of tasks' losses that stay as they are.

    Args:
        weights: Positive numbers by task; 1 for tasks that are left out. `None`: 1
            for all.

    Raises:
        ValueError: If a weight is not positive, or is for no task of the model.

    Example:
        >>> weights = kmmft.models.FixedWeights({"tags": 0.5})
        >>> weights.begin({"vqa": 1.0, "tags": 1.0})
        >>> weights.factors().numpy()
        array([1. , 0.5], dtype=float32)
    """

    def __init__(self, weights: Mapping[str, float] | None = None, **kwargs):
        super().__init__(**kwargs)
        # Not `weights`, which is Keras' name for a layer's variables.
        self.given = dict(weights or {})
        wrong = {task: x for task, x in self.given.items() if not x > 0}
        if wrong:
            raise ValueError(f"A task's weight must be positive. Received: {wrong}.")

    def begin_tasks(self, scales: Mapping[str, float]) -> None:
        unknown = sorted(set(self.given) - set(scales))
        if unknown:
            raise ValueError(
                f"Weights must be for the tasks {list(scales)}. Received: {unknown}."
            )
        self.fixed = tuple(self.given.get(task, 1.0) for task in scales)

    def factors(self) -> tf.Tensor:
        return tf.constant(self.fixed, tf.float32)

    def get_config(self) -> dict:
        return {**super().get_config(), "weights": dict(self.given)}


@keras.saving.register_keras_serializable("kmmft")
class UncertaintyWeights(TaskWeights):
    """Learns how noisy each task is; noisy tasks count less.

    The total is `sum(exp(-s) * loss + s / 2)`, with `exp(-s) / 2` for squared errors,
    where `s` is the logarithm of a task's variance, 0 at first. The model's optimizer
    trains it, without weight decay. Meant for losses that are negative
    log-likelihoods, such as cross-entropy.

    Example:
        >>> weights = kmmft.models.UncertaintyWeights()
        >>> weights.begin({"vqa": 1.0, "age": 0.5})
        >>> weights.log_variances.assign([0.0, np.log(2.0)]).shape
        TensorShape([2])
        >>> weights.factors().numpy()
        array([1.  , 0.25], dtype=float32)

    References:
        - [Kendall et al., 2018](https://arxiv.org/abs/1705.07115), eq. 7 and 10.
    """

    def begin_tasks(self, scales: Mapping[str, float]) -> None:
        self.scales = tuple(scales.values())
        self.log_variances = self.add_weight(
            shape=(len(scales),), initializer="zeros", name="log_variances"
        )

    def factors(self) -> tf.Tensor:
        return tf.constant(self.scales) * tf.exp(-self._log_variances())

    def penalty(self) -> tf.Tensor:
        return tf.reduce_sum(self._log_variances()) / 2

    def _log_variances(self) -> tf.Tensor:
        return tf.convert_to_tensor(self.log_variances)


@keras.saving.register_keras_serializable("kmmft")
class GradNorm(TaskWeights):
    """Balances the tasks' gradients, so that all learn at a similar pace.

    After each step the weights move towards gradients of equal norm, larger for tasks
    whose loss has fallen less than the others'. They begin at 1 and always add up to
    the number of tasks. The state is in the model's weights, so checkpoints keep it.

    Args:
        alpha: How much a slow task is favoured; 0 for equal norms only.
        learning_rate: Of the weights, by plain gradient descent.
        pattern: `fnmatch` pattern over `kmmft.finetuning.named_variables`: the norms
            are of those weights among them that all tasks share. The paper takes the
            last shared layer, such as `"image_encoder/*/transformer_block_12/*"`; the
            default is all of them.

    Raises:
        ValueError: If `alpha` is negative or `learning_rate` not positive.

    Example:
        >>> weights = kmmft.models.GradNorm(alpha=0.0, learning_rate=0.1)
        >>> weights.begin({"vqa": 1.0, "tags": 1.0})
        >>> weights.observe(tf.constant([1.0, 1.0]), tf.constant([3.0, 1.0]))
        >>> weights.factors().numpy().round(3)
        array([0.778, 1.222], dtype=float32)

    References:
        - [Chen et al., 2018](https://arxiv.org/abs/1711.02257), eq. 1-2, algorithm 1.
    """

    # A step beyond zero would turn a task's gradient around.
    SMALLEST = 1e-3

    def __init__(
        self,
        alpha: float = 1.5,
        learning_rate: float = 0.025,
        pattern: str = "*",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if alpha < 0 or not learning_rate > 0:
            raise ValueError(
                "`alpha` must not be negative and `learning_rate` must be positive. "
                f"Received: alpha={alpha}, learning_rate={learning_rate}."
            )
        self.alpha = alpha
        self.learning_rate = learning_rate
        self.pattern = pattern

    def begin_tasks(self, scales: Mapping[str, float]) -> None:
        number = len(scales)
        self.task_weights = self._add_state(number, "ones", "task_weights")
        self.first_losses = self._add_state(number, "zeros", "first_losses")

    def _add_state(self, number: int, value: str, name: str) -> keras.Variable:
        return self.add_weight(
            shape=(number,), initializer=value, trainable=False, name=name
        )

    def factors(self) -> tf.Tensor:
        return tf.convert_to_tensor(self.task_weights)

    def observe(self, losses: tf.Tensor, norms: tf.Tensor) -> None:
        """Moves the weights after a step.

        Args:
            losses: float32 tensor `(tasks,)`, of the global batch.
            norms: float32 tensor `(tasks,)`, norms of the gradients of these losses.
        """
        weights = self.factors()
        first = tf.convert_to_tensor(self.first_losses)
        first = tf.where(first == 0.0, losses, first)
        ratios = losses / first
        pace = ratios / tf.reduce_mean(ratios)
        weighted = weights * norms
        target = tf.reduce_mean(weighted) * tf.pow(pace, self.alpha)
        moved = weights - self.learning_rate * tf.sign(weighted - target) * norms
        moved = tf.maximum(moved, self.SMALLEST)
        moved *= tf.cast(tf.size(moved), moved.dtype) / tf.reduce_sum(moved)
        # A step that overflows in float16 is left out by the optimizer, and here.
        finite = tf.reduce_all(tf.math.is_finite(moved) & tf.math.is_finite(first))
        self.first_losses.assign(tf.where(finite, first, self.first_losses.value))
        self.task_weights.assign(tf.where(finite, moved, weights))

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "alpha": self.alpha,
            "learning_rate": self.learning_rate,
            "pattern": self.pattern,
        }
