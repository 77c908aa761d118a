"""Checkpoints from which a run goes on exactly."""

import logging
import os
import pathlib
import time

import keras
import numpy as np
import tensorflow as tf

from kmmft.training.strategies import gather_rows, has_several_workers

logger = logging.getLogger(__name__)


class Checkpointer(keras.callbacks.Callback):
    """Keeps all that the next step depends on: a run goes on bit for bit.

    The weights, the optimizer's state and the states of the seed generators, which
    neither `.weights.h5` nor `.keras` files keep. Together with a dataset that is a
    function of seed and step (`kmmft.data.build_dataset` with `start_step`), a killed
    and resumed run ends with the weights of an uninterrupted one. Not kept are the
    running metrics: those of a broken epoch are of its part after the resumption.
    A kill while writing leaves the checkpoint before.

    Of several workers each has its own directory. They save at the ends of epochs
    only, and restore the latest step of which all have a checkpoint.

    Args:
        path: Directory of the checkpoints.
        model: The model, built and compiled; its optimizer is built if it is not.
        every_seconds: Least time between two checkpoints.
        max_to_keep: Number of checkpoints kept.

    Example:
        >>> model = keras.Sequential([keras.layers.Dense(1)])
        >>> model.build((None, 2))
        >>> model.compile("adam", "mse")
        >>> checkpointer = kmmft.training.Checkpointer("checkpoints", model)
        >>> checkpointer.restore()
        0
        >>> history = model.fit(
        ...     np.ones((4, 2)), np.ones(4), callbacks=[checkpointer], verbose=0
        ... )
        >>> checkpointer.save()
        >>> kmmft.training.Checkpointer("checkpoints", model).restore()
        1
    """

    def __init__(
        self,
        path: str | os.PathLike,
        model: keras.Model,
        every_seconds: float = 60.0,
        max_to_keep: int = 2,
    ):
        super().__init__()
        if not model.optimizer.built:
            with model.distribute_strategy.scope():
                model.optimizer.build(model.trainable_variables)
        self.set_model(model)
        self.path = pathlib.Path(path)
        self.every_seconds = every_seconds
        self._max_to_keep = max_to_keep
        self._seconds = tf.Variable(0.0, dtype=tf.float64)
        # Not the optimizer's count, which leaves out steps whose gradients overflowed.
        self._step = tf.Variable(0, dtype=tf.int64)
        self._kept_step = None
        self._marked_at = time.monotonic()
        self._manager = tf.train.CheckpointManager(
            self._checkpoint(), str(self.path), max_to_keep
        )

    def _checkpoint(self) -> tf.train.Checkpoint:
        optimizer = self.model.optimizer
        # By position: Keras' own tracking leaves the seed generators out.
        return tf.train.Checkpoint(
            model=[variable.value for variable in self._state()],
            optimizer=[variable.value for variable in optimizer.variables],
            seconds=self._seconds,
            step=self._step,
            **self._plan_state(),
        )

    def _plan_state(self) -> dict[str, list]:
        """What a fine-tuning plan keeps beside the model, as what L2-SP pulls to."""
        plan = getattr(self.model, "finetuning", None)
        if plan is None:
            return {}
        return {"finetuning": [variable.value for variable in plan.variables]}

    def _state(self) -> list[keras.Variable]:
        # Metrics are reset at each epoch, and not built before the first step.
        metrics = {id(variable) for variable in self.model.metrics_variables}
        return [v for v in self.model.variables if id(v) not in metrics]

    @property
    def step(self) -> int:
        """Number of batches that the model has behind it."""
        return int(self._step.numpy())

    @property
    def seconds(self) -> float:
        """Seconds of training in the last checkpoint, all resumptions together."""
        return float(self._seconds.numpy())

    def restore(self) -> int:
        """Brings the model to its last checkpoint.

        Returns:
            The number of batches that it has behind it; 0 if there is no checkpoint.

        Raises:
            ValueError: If the checkpoint is of another model.
        """
        steps = self._steps()
        agreed = self._agreed_step(list(steps))
        if agreed is None:
            if steps:
                logger.warning(
                    "Starting from the beginning: no checkpoint here, of the steps "
                    "%s, is one that all workers have",
                    sorted(steps),
                )
            return 0
        try:
            self._manager.checkpoint.restore(steps[agreed]).assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise ValueError(
                "A checkpoint must be of the same model and optimizer. Received: "
                f"{steps[agreed]}, of another. Name another --output_dir for a new run."
            ) from error
        self._kept_step = self.step
        return self.step

    def _steps(self) -> dict[int, str]:
        """Paths of the checkpoints that are kept, by step."""
        kept = self._manager.checkpoints[-self._max_to_keep :]
        return {int(path.rpartition("-")[2]): path for path in kept}

    def _agreed_step(self, steps: list[int]) -> int | None:
        """The latest step that all workers have, or None."""
        strategy = self.model.distribute_strategy
        if has_several_workers(strategy):
            # Rows of one length; a worker may keep fewer checkpoints, or none.
            row = (steps + [-1] * self._max_to_keep)[: self._max_to_keep]
            rows = gather_rows(strategy, np.array(row, np.int64))
            steps = set.intersection(*map(set, rows.tolist())) - {-1}
        return max(steps, default=None)

    def save(self) -> None:
        """Writes a checkpoint of the present state, unless this step has one."""
        now = time.monotonic()
        self._seconds.assign_add(now - self._marked_at)
        self._marked_at = now
        # Whether to save must not depend on the files: workers have different ones.
        if self._kept_step != self.step:
            self._manager.save(checkpoint_number=self.step)
            self._kept_step = self.step

    def on_train_begin(self, logs=None) -> None:
        self._marked_at = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        self._last_batch = -1

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        self._step.assign_add(batch - self._last_batch)
        self._last_batch = batch
        # Not after the last batch: validation and what comes of it are still to come.
        if batch + 1 == (self.params or {}).get("steps"):
            return
        # Clocks differ between workers.
        if has_several_workers(self.model.distribute_strategy):
            return
        if time.monotonic() - self._marked_at >= self.every_seconds:
            self.save()

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        self.save()
