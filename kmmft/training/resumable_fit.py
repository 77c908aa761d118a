"""`model.fit` that goes on where a killed run stopped."""

import inspect
import logging
import math
import sys
import warnings
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from kmmft.training.checkpoints import Checkpointer
from kmmft.training.run_directory import RunDirectory
from kmmft.training.strategies import gather_rows, has_several_workers

logger = logging.getLogger(__name__)


def resumable_fit(
    model: keras.Model,
    make_dataset: Callable[..., tf.data.Dataset],
    *,
    run: RunDirectory,
    steps_per_epoch: int,
    epochs: int,
    validation_data: tf.data.Dataset | None = None,
    monitor: str | None = None,
    patience: int | None = None,
    class_weight: dict[int, float] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    checkpoint_every_seconds: float = 60.0,
    verbose: int | str = "auto",
) -> float:
    """Runs `model.fit`, keeping in the run directory what a resumption needs.

    Writes checkpoints, `history.csv`, TensorBoard logs and, where `monitor` is given,
    the best weights, which the model has in the end. Called again after a kill, it
    goes on at the step of the last checkpoint, in the middle of an epoch too.

    Several workers (`MultiWorkerMirroredStrategy`) call it alike, each with a run
    directory of its own. They keep checkpoints at the ends of epochs only, go on with
    the last one that all of them have, and decide by the first worker's metrics.

    Args:
        model: Compiled model, fresh from its constructor.
        make_dataset: Given a number of steps, returns the endless training data that
            follow these steps, such as `build_dataset(..., start_step=step)`. If it
            has a parameter `input_context`, each of several workers passes its own,
            and gets the batches of its replicas; otherwise, each reads everything and
            takes its part.
        run: The run's directory.
        steps_per_epoch: Optimizer steps between two validations.
        epochs: Number of epochs in all.
        validation_data: As in `fit`.
        monitor: Metric by which the best epoch is chosen, such as `"val_accuracy"`.
            Higher is better, unless the name ends with `loss`, `error`, `mae` or
            `mse`.
        patience: Epochs without a better `monitor` after which training stops.
        class_weight: As in `fit`.
        callbacks: Further callbacks.
        checkpoint_every_seconds: Least time between two checkpoints in an epoch.
        verbose: As in `fit`; `"auto"` is a progress bar in a terminal and one line an
            epoch elsewhere.

    Returns:
        Seconds of training and validation behind the model, all resumptions together.

    Raises:
        ValueError: If the loss stops being a number, or the optimizer has `use_ema`.
    """
    _check_averages(model.optimizer)
    if verbose == "auto":
        verbose = 1 if sys.stdout.isatty() else 2
    checkpointer = Checkpointer(run.checkpoints, model, checkpoint_every_seconds)
    step = checkpointer.restore()
    epoch, done = divmod(step, steps_per_epoch)
    if step:
        logger.info("Going on after step %d of %d", step, epochs * steps_per_epoch)
    best = _Best(run, monitor, patience) if monitor else None
    # The order matters: the row and the best weights of an epoch are written before
    # the checkpoint that says that the epoch is over.
    callbacks = [
        *callbacks,
        _SameLogs(),
        keras.callbacks.TensorBoard(str(run.tensorboard), write_graph=False),
        _EpochLog(run),
        *([best] if best else []),
        checkpointer,
    ]
    while epoch < epochs and not (best and best.is_over(epoch)):
        # The rest of a broken epoch is a `fit` of its own.
        last = epoch + 1 if done else epochs
        with warnings.catch_warnings():
            # Keras warns where validation data ends, if it did not know their length.
            warnings.filterwarnings("ignore", message="Your input ran out of data")
            model.fit(
                _training_data(
                    model, make_dataset, epoch * steps_per_epoch + done, class_weight
                ),
                initial_epoch=epoch,
                epochs=last,
                steps_per_epoch=steps_per_epoch - done,
                validation_data=validation_data,
                class_weight=class_weight,
                callbacks=callbacks,
                shuffle=False,
                verbose=verbose,
            )
        if model.stop_training:
            break
        epoch, done = last, 0
    if best:
        best.restore(model)
    return checkpointer.seconds


def _check_averages(optimizer: keras.optimizers.Optimizer) -> None:
    # A resumption in the middle of an epoch is two fits.
    if getattr(optimizer, "inner_optimizer", optimizer).use_ema:
        raise ValueError(
            "A run that may be resumed cannot have `use_ema`: Keras puts the averages "
            "in the place of the weights after each `fit`. Received: an optimizer with "
            "use_ema=True. Take kmmft.finetuning.StochasticWeightAveraging as a "
            "callback instead."
        )


def _training_data(
    model: keras.Model,
    make_dataset: Callable[..., tf.data.Dataset],
    step: int,
    class_weight: dict[int, float] | None,
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    strategy = model.distribute_strategy
    divides = "input_context" in inspect.signature(make_dataset).parameters
    # Keras weighs classes by a map over a `tf.data.Dataset`, and over no other.
    if not (divides and has_several_workers(strategy)) or class_weight:
        return make_dataset(step)
    return strategy.distribute_datasets_from_function(
        lambda context: make_dataset(step, input_context=context)
    )


class _SameLogs(keras.callbacks.Callback):
    """Gives all workers the first one's logs of an epoch.

    Otherwise a rounding error in one worker's own evaluation could stop it alone, and
    the others would wait for it.
    """

    def on_epoch_end(self, epoch, logs=None):
        strategy = self.model.distribute_strategy
        if logs and has_several_workers(strategy):
            names = sorted(logs)
            row = np.array([logs[name] for name in names], np.float64)
            logs.update(zip(names, gather_rows(strategy, row)[0].tolist(), strict=True))


class _EpochLog(keras.callbacks.Callback):
    """Writes `history.csv`, and stops a run whose loss is no number."""

    # Reading the loss waits for the device, so not at each step.
    CHECK_EVERY_STEPS = 50

    def __init__(self, run: RunDirectory):
        super().__init__()
        self.run = run

    def on_train_batch_end(self, batch, logs=None):
        if batch % self.CHECK_EVERY_STEPS == 0:
            self._check(logs)

    def on_epoch_end(self, epoch, logs=None):
        self._check(logs)
        self.run.write_epoch(epoch, logs or {})

    def _check(self, logs):
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            step = int(self.model.optimizer.iterations.numpy())
            raise ValueError(
                f"The loss must stay finite. Received: {loss} at step {step}. Lower "
                "the learning rate, or look at the data around that step."
            )


class _Best(keras.callbacks.Callback):
    """Keeps the best epoch's weights, and stops when nothing gets better.

    The best value and the wait are read from `history.csv`, so that a resumed run
    decides as an uninterrupted one does.
    """

    def __init__(self, run: RunDirectory, monitor: str, patience: int | None):
        super().__init__()
        self.run = run
        self.monitor = monitor
        self.patience = patience
        lower = monitor.endswith(("loss", "error", "mae", "mse"))
        self.sign = -1 if lower else 1
        self.file = run.checkpoints / "best.weights.h5"

    def best_epoch(self, before: int | None = None) -> int | None:
        rows = self.run.history(before)
        if not rows:
            return None
        if self.monitor not in rows[-1]:
            raise ValueError(
                "`monitor` must be a metric of the training. Received: "
                f"{self.monitor!r}. Choose one of {sorted(rows[-1])}."
            )
        # The first of equals.
        return int(max(rows, key=self._score)["epoch"])

    def _score(self, row: dict[str, float]) -> float:
        value = self.sign * row[self.monitor]
        return -math.inf if math.isnan(value) else value

    def is_over(self, epoch: int) -> bool:
        best = self.best_epoch(before=epoch)
        if best is None or self.patience is None:
            return False
        return epoch - 1 - best >= self.patience

    def on_epoch_end(self, epoch, logs=None):
        if self.best_epoch() == epoch:
            temporary = self.file.with_name(f".{self.file.name}")
            temporary.parent.mkdir(parents=True, exist_ok=True)
            self.model.save_weights(temporary)
            temporary.replace(self.file)
        if self.is_over(epoch + 1):
            best = self.best_epoch() + 1
            logger.info("Stopping: %s was best in epoch %d", self.monitor, best)
            self.model.stop_training = True

    def restore(self, model: keras.Model) -> None:
        model.load_weights(self.file)
