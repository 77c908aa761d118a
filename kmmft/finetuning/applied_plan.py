"""A plan at work on one model: the callback that lets weights begin."""

import dataclasses
import logging
from collections.abc import Sequence

import keras

from kmmft.finetuning import plan_table
from kmmft.finetuning.planned_weights import PlannedWeight, frozen_norms
from kmmft.finetuning.trainability import Trainability
from kmmft.training import UpdateRule
from kmmft.training.optimizers.fused_updates import FusedUpdates

logger = logging.getLogger(__name__)


class AppliedPlan(keras.callbacks.Callback):
    """What `Plan.apply` returns: a callback, and an account of what it did.

    Between trainings all weights that will ever train are trainable, so that an
    optimizer is built with all of them. In `fit` those that have not begun are frozen.
    Each beginning traces the train step anew, and a weight that begins has fresh
    moments and bias corrections; the others keep theirs. Which have begun is read from
    the optimizer's state, so that a resumed training goes on exactly.

    Args:
        model: The model, its weights and penalties set.
        weights: All its weights, as planned.
        kept: What the penalties keep: where L2-SP pulls to, and Fisher information.

    Attributes:
        variables: These, for checkpoints: they are no weights of the model.
    """

    def __init__(
        self,
        model: keras.Model,
        weights: Sequence[PlannedWeight],
        kept: Sequence[keras.Variable] = (),
    ):
        super().__init__()
        self.set_model(model)
        self.planned_model = model
        self.weights = list(weights)
        self.variables = list(kept)
        self._late = [weight for weight in self.weights if weight.is_late]
        rules = {weight.path: weight.rule for weight in self.weights}
        self._trainability = Trainability(model, frozen_norms(model, rules))
        # What the weights are set to now, and what the train step was traced with.
        self._set_to = self._traced_with = None
        self._free_all()

    # === What it did ===
    def summary(self) -> str:
        """A table of the rules: what they hold, when, how fast and how far it goes."""
        return plan_table.summary(self.weights)

    def counts(self) -> dict[str, int]:
        """Numbers of parameters.

        Returns:
            dict: `parameters` of all weights, `trained_parameters` of those that ever
            train, `frozen_parameters` of the others, and `added_parameters` of those
            that adapters made.
        """
        return plan_table.counts(self.weights)

    # === The callback ===
    def on_train_begin(self, logs=None) -> None:
        if self.model is not self.planned_model:
            raise ValueError(
                f"A plan is for the model that it was applied to. Received: another, "
                f"{self.model.name!r}. Apply the plan to it, before `compile`."
            )
        optimizer = self.model.optimizer
        if not optimizer.built:
            self._free_all()
            with self.model.distribute_strategy.scope():
                optimizer.build(self.model.trainable_variables)
        self._check_optimizer()
        self._exclude_from_weight_decay()

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        self._epoch = epoch
        self._let_begin()

    def on_train_batch_begin(self, batch: int, logs=None) -> None:
        # Reading the optimizer's count waits for the device: only where need be.
        if any(w.from_step and id(w.variable) not in self._set_to for w in self._late):
            self._let_begin()

    def on_train_end(self, logs=None) -> None:
        self._free_all()

    def _free_all(self) -> None:
        self._set({id(w.variable) for w in self.weights if w.trains})

    def _set(self, training: set[int]) -> None:
        if training != self._set_to:
            self._trainability.set(training)
            self._set_to = training

    @property
    def _optimizer(self) -> keras.optimizers.Optimizer:
        optimizer = self.model.optimizer
        return getattr(optimizer, "inner_optimizer", optimizer)

    def _check_optimizer(self) -> None:
        special = [
            weight.path
            for weight in self.weights
            if weight.is_late
            or (weight.trains and weight.variable.update_rule != UpdateRule())
        ]
        if special and not isinstance(self._optimizer, FusedUpdates):
            raise ValueError(
                "Rates, decays and beginnings of single weights need an optimizer of "
                f"kmmft. Received: {type(self._optimizer).__name__}, and rules for "
                f"{special[:3]}. Compile with kmmft.training.AdamW or SGD."
            )
        if self._late and self._optimizer.use_ema:
            raise ValueError(
                "Keras pairs averages with weights that all train from the beginning. "
                f"Received: use_ema=True, and {self._late[0].path!r} begins later. "
                "Average with kmmft.finetuning.StochasticWeightAveraging instead."
            )
        known = {id(variable) for variable in self._optimizer._trainable_variables}
        for weight in self.weights:
            if weight.trains and id(weight.variable) not in known:
                raise ValueError(
                    "The optimizer must know all weights that will ever train. "
                    f"Received: one that was built without {weight.path!r}. Compile "
                    "with a new one after the plan is applied."
                )

    def _exclude_from_weight_decay(self) -> None:
        for weight in self.weights:
            variable, decay = weight.variable, weight.rule.weight_decay
            if weight.trains and decay is not None:
                counts = self._optimizer._use_weight_decay(variable)
                variable.update_rule = dataclasses.replace(
                    variable.update_rule, weight_decay=decay if counts else 0.0
                )

    def _let_begin(self) -> None:
        """Lets all weights train whose time has come; restarts those that begin now."""
        begun = self._begun_before()
        step = int(self._optimizer.iterations.numpy())
        beginning = [
            weight
            for weight in self._late
            if weight.has_begun(self._epoch, step) and id(weight.variable) not in begun
        ]
        now = {id(w.variable) for w in self.weights if w.has_begun(self._epoch, step)}
        now |= begun
        if beginning:
            self._optimizer.restart([weight.variable for weight in beginning])
            logger.info(
                "Epoch %d, step %d: %d weights begin to train, from %s",
                self._epoch,
                step,
                len(beginning),
                beginning[0].path,
            )
        self._set(now)
        if now != self._traced_with:
            self._traced_with = now
            self.model.make_train_function(force=True)
            # The loss of a validation has the penalties of trained weights too.
            self.model.test_function = None

    def _begun_before(self) -> set[int]:
        """Late weights whose update began, in this process or before a kill."""
        if not self._late:
            return set()
        starts = self._optimizer.start_steps.numpy()
        index = self._optimizer._get_variable_index
        variables = [weight.variable for weight in self._late]
        return {id(v) for v in variables if starts[index(v)] >= 0}
