"""A callback that looks at whole data sets, not at batches."""

import math

import keras


class EpochEvaluator(keras.callbacks.Callback):
    """Puts an evaluation's numbers into the logs of the epochs.

    The numbers are then in the history, in `history.csv` and TensorBoard, and can be
    the `monitor` of `kmmft.training.resumable_fit`. In epochs that are not evaluated
    they are NaN: a monitor takes that for no improvement.

    A subclass gives `evaluate(model)` and `metric_names()`.

    Args:
        every_epochs: Evaluates after so many epochs.
        prefix: What stands before the names in the logs.

    Raises:
        ValueError: If `every_epochs` is not positive.
    """

    def __init__(self, every_epochs: int = 1, prefix: str = "val_"):
        super().__init__()
        if every_epochs < 1:
            raise ValueError(
                "`every_epochs` must be at least 1. "
                f"Received: every_epochs={every_epochs}."
            )
        self.every_epochs = every_epochs
        self.prefix = prefix

    def evaluate(self, model: keras.Model) -> dict[str, float]:
        """Evaluates a model on the whole data set."""
        raise NotImplementedError

    def metric_names(self) -> list[str]:
        """The keys of what `evaluate` returns."""
        raise NotImplementedError

    def on_epoch_end(self, epoch, logs=None):
        if logs is None:
            return
        if (epoch + 1) % self.every_epochs == 0:
            metrics = self.evaluate(self.model)
        else:
            metrics = dict.fromkeys(self.metric_names(), math.nan)
        logs.update({f"{self.prefix}{name}": x for name, x in metrics.items()})
