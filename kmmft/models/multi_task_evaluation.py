"""The evaluation of a model of several tasks, and of each by its own data."""

from collections.abc import Iterable, Mapping

import keras
import tensorflow as tf

from kmmft.models.task_step import weight_penalties
from kmmft.training.collectives import num_replicas
from kmmft.training.distributed import loggable


class MultiTaskEvaluation:
    """Mixin for a model with `tasks` and `loss_weights`: see `MultiTask`."""

    def test_step(self, data):
        self.check_tasks(data)
        logs = {}
        for name, own in data.items():
            logs |= prefixed(name, self.tasks[name].test_step(own))
        return loggable({"loss": self.total_loss(logs, data), **logs})

    def total_loss(self, logs: Mapping, names: Iterable[str]) -> tf.Tensor:
        """The weighted loss of some tasks; penalties of weights count once.

        Of all tasks it is what training logs, the term of learned `loss_weights`
        included.

        Args:
            logs: Holds the tasks' losses, each with the penalties of its weights.
            names: The tasks.

        Returns:
            float32 scalar.
        """
        penalties = weight_penalties(self)
        factors = dict(
            zip(self.tasks, tf.unstack(self.loss_weights.factors()), strict=True)
        )
        total = penalties.sum(self.trainable_variables) * num_replicas()
        if set(names) == set(self.tasks):
            total += self.loss_weights.penalty()
        for name in names:
            own = penalties.sum(self.tasks[name].trainable_variables) * num_replicas()
            total += factors[name] * (tf.cast(logs[f"{name}_loss"], tf.float32) - own)
        return total

    def evaluate(self, x=None, *args, **kwargs):
        """As `keras.Model.evaluate`, also for each task with data of its own.

        Args:
            x: A dataset of batches of tasks, as for `fit`; or by task a dataset of the
                task's own batches, each of which is evaluated to its end.
            *args: As in Keras.
            **kwargs: As in Keras.

        Returns:
            As in Keras; for datasets by task always a dict.
        """
        if not _is_datasets(x):
            return super().evaluate(x, *args, **kwargs)
        self.check_tasks(x)
        kwargs["return_dict"] = True
        logs = {}
        for name, dataset in x.items():
            own = dataset.map(
                lambda *batch, name=name: {name: batch if len(batch) > 1 else batch[0]}
            )
            logs |= super().evaluate(own, *args, **kwargs)
        return {**logs, "loss": float(self.total_loss(logs, x))}

    def fit(self, *args, validation_data=None, callbacks=None, **kwargs):
        """As `keras.Model.fit`; see `evaluate` for `validation_data` by task."""
        if _is_datasets(validation_data):
            self.check_tasks(validation_data)
            callbacks = [_TaskValidation(validation_data), *(callbacks or [])]
            validation_data = None
        return super().fit(
            *args, validation_data=validation_data, callbacks=callbacks, **kwargs
        )

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        own = super().metrics
        return own + [metric for task in self.tasks.values() for metric in task.metrics]

    def get_metrics_result(self) -> dict:
        # Keras would take the metrics' own names, which several tasks have alike, in
        # place of what the steps return.
        return {}


class _TaskValidation(keras.callbacks.Callback):
    """Puts the evaluation of each task into the logs of the epochs."""

    def __init__(self, datasets: Mapping[str, tf.data.Dataset]):
        super().__init__()
        self.datasets = datasets

    def on_epoch_end(self, epoch, logs=None):
        found = self.model.evaluate(self.datasets, verbose=0)
        logs.update({f"val_{name}": value for name, value in found.items()})


def prefixed(task: str, logs: Mapping) -> dict:
    """The logs of a task under its name."""
    return {f"{task}_{name}": value for name, value in logs.items()}


def _is_datasets(given) -> bool:
    return isinstance(given, Mapping) and all(
        isinstance(value, tf.data.Dataset) for value in given.values()
    )
