"""One train step for several tasks."""

import collections
import fnmatch
from collections.abc import Mapping

import tensorflow as tf

from kmmft.finetuning import named_variables
from kmmft.models.multi_task_evaluation import prefixed
from kmmft.models.task_step import (
    TaskStep,
    gradients_without_penalties,
    task_step,
    weight_penalties,
)
from kmmft.models.task_weights import GradNorm
from kmmft.training import DistributedTraining
from kmmft.training.collectives import all_reduce_sum, num_replicas
from kmmft.training.distributed import loggable, uneven_sizes
from kmmft.training.gradient_conflicts import project_conflicts
from kmmft.training.step_options import StepOption, wraps_forward

# A task's gradients, by the weight's id.
Gradients = dict[int, tf.Tensor]


class MultiTaskTraining(DistributedTraining):
    """Mixin for a model with `tasks` and `loss_weights`: see `MultiTask`.

    A batch is a dict: by task, what the task's own `fit` takes as a batch.
    """

    def train_step(self, data):
        self.check_tasks(data, all_of_them=True)
        _check_options(self)
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        return loggable(self._in_turns(data) if self.in_turns else self._jointly(data))

    def _in_turns(self, data: Mapping) -> dict[str, tf.Tensor]:
        logs = {}
        for name, task in self.tasks.items():
            logs |= prefixed(name, task.train_step(data[name]))
        return {"loss": self.total_loss(logs, self.tasks), **logs}

    def _jointly(self, data: Mapping) -> dict[str, tf.Tensor]:
        steps = {name: self._step_of(name, data[name]) for name in self.tasks}
        penalties = weight_penalties(self)
        gradients = {
            name: gradients_without_penalties(self.tasks[name], step, penalties)
            for name, step in steps.items()
        }
        losses = tf.stack(
            [
                tf.cast(step.loss, tf.float32)
                - penalties.sum(self.tasks[name].trainable_variables)
                for name, step in steps.items()
            ]
        )
        factors = self.loss_weights.factors()
        total, of_weights = self._weigh(losses)
        summed = self._sum(gradients, factors)
        summed = _add(_add(summed, of_weights), penalties.gradients)
        self.apply_global_gradients(
            [summed.get(id(weight)) for weight in self.trainable_variables]
        )
        if isinstance(self.loss_weights, GradNorm):
            self._balance(losses, gradients)
        total += penalties.sum(self.trainable_variables)
        return self._logs(total, factors, steps)

    def _step_of(self, name: str, data) -> TaskStep:
        task = self.tasks[name]
        seeds = task.prepare_replica()
        # A shared layer draws other masks for each task.
        number = list(self.tasks).index(name)
        seeds.step = self.optimizer.iterations.value * len(self.tasks) + number
        return task_step(task, data, seeds)

    def _weigh(self, losses: tf.Tensor) -> tuple[tf.Tensor, Gradients]:
        """The weighted loss, and what it asks of the weights that are learned."""
        learned = self.loss_weights.trainable_variables
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(self.loss_weights.factors() * losses)
            total += self.loss_weights.penalty() / num_replicas()
            scaled = self.optimizer.scale_loss(total)
        found = tape.gradient(scaled, [weight.value for weight in learned])
        return total, {id(w): g for w, g in zip(learned, found, strict=True)}

    def _sum(self, gradients: dict[str, Gradients], factors: tf.Tensor) -> Gradients:
        weighted = {
            name: {key: g * tf.cast(factor, g.dtype) for key, g in own.items()}
            for (name, own), factor in zip(
                gradients.items(), tf.unstack(factors, len(gradients)), strict=True
            )
        }
        summed = {}
        for own in weighted.values():
            summed = _add(summed, own)
        return summed | self._projected(weighted) if self.project_conflicts else summed

    def _projected(self, gradients: dict[str, Gradients]) -> Gradients:
        """Gradients of the weights that several tasks share, without conflicts."""
        owners = self._owners()
        shared = [w for w in self.trainable_variables if owners[id(w)] > 1]
        if not shared:
            # The encoders are frozen.
            return {}
        lists = _over_replicas(gradients, shared)
        step = tf.cast(self.optimizer.iterations.value, tf.int32)
        seed = tf.stack([self.seed % 2**31, step])
        # Every replica has the whole now, and the sum over replicas is still to come.
        return {
            id(weight): g / num_replicas()
            for weight, g in zip(shared, project_conflicts(lists, seed), strict=True)
        }

    def _balance(self, losses: tf.Tensor, gradients: dict[str, Gradients]) -> None:
        owners = self._owners()
        paths = {
            path: weight
            for path, weight in named_variables(self).items()
            if owners[id(weight)] == len(self.tasks)
        }
        pattern = self.loss_weights.pattern
        matched = [paths[path] for path in fnmatch.filter(paths, pattern)]
        if not matched:
            raise ValueError(
                "GradNorm's `pattern` must match weights that all tasks share. "
                f"Received: {pattern!r}. Such weights are: {list(paths)[-8:]}."
            )
        training = {id(weight) for weight in self.trainable_variables}
        weights = [weight for weight in matched if id(weight) in training]
        if not weights:
            # Frozen for now: there is nothing to balance.
            return
        scale = self.optimizer.scale_loss(tf.ones(()))
        norms = [tf.linalg.global_norm(x) for x in _over_replicas(gradients, weights)]
        (losses,) = all_reduce_sum([losses])
        self.loss_weights.observe(losses, tf.stack(norms) / scale)

    def _owners(self) -> collections.Counter:
        """How many tasks have a weight, by its id."""
        tasks = self.tasks.values()
        return collections.Counter(id(weight) for x in tasks for weight in x.weights)

    def _logs(self, total, factors, steps: dict[str, TaskStep]) -> dict:
        (total,) = all_reduce_sum([total])
        self._loss_tracker.update_state(total)
        logs = {"loss": self._loss_tracker.result()}
        for number, (name, step) in enumerate(steps.items()):
            logs |= prefixed(name, step.log())
            if self.loss_weights.weights:
                logs[f"{name}_weight"] = factors[number]
        return logs

    def _check_parts(self, batch) -> None:
        self.check_tasks(batch)
        for name, part in batch.items():
            sizes = uneven_sizes(self.distribute_strategy, part)
            if sizes:
                raise ValueError(
                    "Each task's part of the global batch must divide by the number of "
                    f"replicas. Received: parts of {sizes} examples of {name!r}. Pass "
                    f"multiple_of={len(sizes)} to kmmft.data.mix_tasks."
                )

    def _symbolic_build(self, iterator=None, data_batch=None):
        # Overrides a private method of Keras: each task is built by itself.
        self.check_tasks(data_batch)
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        for name, part in data_batch.items():
            self.tasks[name]._symbolic_build(data_batch=part)


def _add(one: Gradients, other: Gradients) -> Gradients:
    return one | {k: one[k] + g if k in one else g for k, g in other.items()}


def _over_replicas(gradients: dict[str, Gradients], weights: list) -> list[list]:
    """By task, the gradients of some weights, summed over the replicas."""
    own = [
        g[id(weight)] if id(weight) in g else tf.zeros(weight.shape, weight.dtype)
        for g in gradients.values()
        for weight in weights
    ]
    summed = all_reduce_sum(own)
    size = len(weights)
    return [summed[i : i + size] for i in range(0, len(summed), size)]


def _check_options(model: MultiTaskTraining) -> None:
    wrapping = [option for option in model.step_options if wraps_forward(option)]
    if model.micro_batch_size is not None or wrapping:
        raise ValueError(
            "Micro-batches and options of the forward pass are the tasks' own. "
            f"Received: micro_batch_size={model.micro_batch_size}, "
            f"step_options={wrapping} of the MultiTask. Set them on "
            'model.tasks["..."].'
        )
    changing = [
        option
        for task in model.tasks.values()
        for option in task.step_options
        if type(option).change_gradients is not StepOption.change_gradients
    ]
    if changing and not model.in_turns:
        raise ValueError(
            "Options that change gradients are the MultiTask's own. Received: "
            f"{changing} on a task. Set them as `step_options` of the MultiTask."
        )
