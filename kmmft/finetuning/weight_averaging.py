"""The mean of the weights along a training (SWA)."""

import logging

import keras
import tensorflow as tf

from kmmft.finetuning.batch_norm_statistics import trained_norms

logger = logging.getLogger(__name__)


class StochasticWeightAveraging(keras.callbacks.Callback):
    """Averages the weights that training passes through, and ends with the average.

    At the end of each epoch from `start_epoch` on, or after each `every_steps` steps
    of these epochs, `average = (average * n + weights) / (n + 1)`, in float32; the
    first time the average is the weights. It is usual to train with a constant or
    cyclic rate by then. Training itself is not changed. Trained BatchNorm layers need
    `update_batch_norm` afterwards: their statistics are still those of the last
    weights.

    The average survives a kill: it is in the checkpoints of
    `kmmft.training.Checkpointer`, as the state of `model.finetuning`, and a resumed
    run ends with the average of an uninterrupted one. `kmmft.training.resumable_fit`
    may call `fit` several times, so there set `apply_at_end=False`, and call
    `apply()` when it is done.

    Args:
        model: Built model, after a plan was applied to it, if there is one. All that
            is trainable then is averaged.
        start_epoch: The first epoch, from 0, whose weights count.
        every_steps: Steps between two weights that count; `None` for once an epoch.
        apply_at_end: Whether the model gets the average when `fit` is over.

    Attributes:
        count: How many weights the average is of.
        variables: The average and its counts, for checkpoints.

    Raises:
        ValueError: If nothing can be averaged; if `fit` is over before `start_epoch`;
            if `fit` is called again after the model got the average.

    Example:
        >>> inputs = keras.Input((1,))
        >>> outputs = keras.layers.Dense(1, use_bias=False)(inputs)
        >>> model = keras.Model(inputs, outputs)
        >>> model.compile(keras.optimizers.SGD(0.25), "mse")
        >>> model.set_weights([np.zeros((1, 1))])
        >>> averaging = kmmft.finetuning.StochasticWeightAveraging(
        ...     model, start_epoch=1)
        >>> history = model.fit(np.ones((2, 1)), np.full(2, 8.0), epochs=3,
        ...     callbacks=[averaging], verbose=0)
        >>> averaging.count, model.get_weights()[0].item()
        (2, 6.5)

    References:
        - [Izmailov et al., 2018](https://arxiv.org/abs/1803.05407), alg. 1: its first
          weights are those at the end of `start_epoch` here.
    """

    def __init__(
        self,
        model: keras.Model,
        start_epoch: int,
        every_steps: int | None = None,
        apply_at_end: bool = True,
    ):
        super().__init__()
        if start_epoch < 0 or (every_steps is not None and every_steps < 1):
            raise ValueError(
                "`start_epoch` must be at least 0 and `every_steps` at least 1. "
                f"Received: start_epoch={start_epoch}, every_steps={every_steps}."
            )
        self._weights = list(model.trainable_variables) if model.built else []
        if not self._weights:
            raise ValueError(
                "There must be weights to average. Received: a model without "
                "trainable ones. Build it, and let some weights train."
            )
        self.set_model(model)
        self._averaged_model = model
        self.start_epoch = start_epoch
        self.every_steps = every_steps
        self.apply_at_end = apply_at_end
        self._is_over = False
        with tf.init_scope(), model.distribute_strategy.scope():
            self._averages = [_float32_copy(weight) for weight in self._weights]
            self._count, self._steps = (
                keras.Variable(0, dtype="int64", trainable=False, name=name)
                for name in ("swa_count", "swa_steps")
            )
        self.variables = [*self._averages, self._count, self._steps]
        self._join_checkpoints()

    def _join_checkpoints(self) -> None:
        # What a Checkpointer saves beside the model is the state of `finetuning`.
        other = getattr(self.model, "finetuning", None)
        if other is None:
            self.model.finetuning = self
        else:
            other.variables = [*other.variables, *self.variables]

    @property
    def count(self) -> int:
        return int(self._count.numpy())

    def apply(self) -> None:
        """Gives the model the average.

        Raises:
            ValueError: If no weights were averaged yet.
        """
        if not self.count:
            raise ValueError(
                "An average needs weights. Received: none yet. Train beyond the start "
                f"of epoch {self.start_epoch} (the first is 0), or set `start_epoch` "
                "lower."
            )
        for weight, average in zip(self._weights, self._averages, strict=True):
            weight.assign(tf.cast(average.value, weight.dtype))
        self._is_over = True
        norms = trained_norms(self.model)
        if norms:
            logger.warning(
                "The statistics of %d BatchNorm layers are not those of the averaged "
                "weights: call kmmft.finetuning.update_batch_norm",
                len(norms),
            )

    def on_train_begin(self, logs=None) -> None:
        if self._is_over:
            raise ValueError(
                "Training cannot go on from the average. Received: a second `fit`. "
                "Set apply_at_end=False and call apply() after the last one, or use a "
                "new StochasticWeightAveraging."
            )
        if self.model is not self._averaged_model:
            raise ValueError(
                "An averaging is for the model that it was made with. Received: "
                f"another, {self.model.name!r}. Make one for it."
            )
        epochs = (self.params or {}).get("epochs")
        if self.apply_at_end and epochs is not None and epochs <= self.start_epoch:
            raise ValueError(
                "`start_epoch` must be an epoch of the training. Received: "
                f"start_epoch={self.start_epoch} and epochs={epochs} (the first is "
                "0). Set it lower, or apply_at_end=False where `fit` is called several "
                "times."
            )
        self._done = int(self._steps.numpy())

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        self._counts = epoch >= self.start_epoch
        self._last_batch = -1

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        new, self._last_batch = batch - self._last_batch, batch
        if not self._counts or self.every_steps is None:
            return
        before, self._done = self._done, self._done + new
        self._steps.assign(self._done)
        # Several steps of one execution count as one.
        if self._done // self.every_steps > before // self.every_steps:
            self._take()

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        if self._counts and self.every_steps is None:
            self._take()

    def on_train_end(self, logs=None) -> None:
        if self.apply_at_end and self.count:
            self.apply()

    def _take(self) -> None:
        count = tf.cast(self._count.value, tf.float32)
        for weight, average in zip(self._weights, self._averages, strict=True):
            new, old = (
                tf.cast(weight.value, tf.float32),
                tf.cast(average.value, "float32"),
            )
            # (old * n + new) / (n + 1), which leaves weights as they are that rest.
            average.assign(old + (new - old) / (count + 1))
        self._count.assign_add(1)


def _float32_copy(weight: keras.Variable) -> keras.Variable:
    # Through NumPy: a variable made from a variable's value is an alias of it.
    return keras.Variable(
        weight.numpy().astype("float32"),
        dtype="float32",
        trainable=False,
        name=f"{weight.name}_average",
    )
