"""One TensorFlow kernel a weight, with rates, decays and starts of its own."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from kmmft.training.optimizers.update_rule import rule_of


class FusedUpdates:
    """Mixin for a Keras optimizer, before it in the order of the base classes.

    The numbers that weights share are computed once a step for all of them, so that
    a weight adds a few nodes to the graph where Keras adds some thirty. The names in
    `exclude_from_weight_decay(var_names=...)` are part of the config, which Keras
    forgets: a model that came back from a file would decay all its weights.
    """

    _numbers = None

    def get_config(self) -> dict:
        pattern = getattr(self, "_exclude_from_weight_decay_pattern", None)
        names = sorted(pattern.pattern.split("|")) if pattern else None
        return {**super().get_config(), "no_decay_names": names}

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        config = dict(config)
        names = config.pop("no_decay_names", None)
        optimizer = super().from_config(config, custom_objects)
        if names:
            optimizer.exclude_from_weight_decay(var_names=names)
        return optimizer

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self.start_steps = self.add_variable(
            (len(variables),),
            # Not restarted: trained from the first step, or not begun.
            initializer=keras.initializers.Constant(-1),
            dtype="int64",
            name="start_steps",
        )

    def restart(self, variables: Sequence[keras.Variable]) -> None:
        """Begins the update of weights anew, as if the optimizer had just been built.

        For weights that are unfrozen: bias corrections count the steps since then, and
        moments are zero.

        Args:
            variables: Weights that the optimizer was built with.

        Example:
            >>> weight = keras.Variable(np.ones(2))
            >>> optimizer = kmmft.training.AdamW(0.1)
            >>> optimizer.build([weight])
            >>> optimizer.restart([weight])
        """
        starts = self.start_steps.numpy()
        for variable in variables:
            index = self._get_variable_index(variable)
            starts[index] = int(self.iterations.numpy())
            for slot in self.slots(index):
                slot.assign(tf.zeros(slot.shape, slot.dtype))
        self.start_steps.assign(starts)

    def slots(self, index: int) -> list[keras.Variable]:
        """Variables that the optimizer keeps for the weight of this number."""
        raise NotImplementedError

    def apply(self, grads, trainable_variables=None) -> None:
        # Sparse ones may hold a row several times: dense before clips and squares.
        grads = [None if g is None else tf.convert_to_tensor(g) for g in grads]
        try:
            super().apply(grads, trainable_variables)
        finally:
            # Numbers belong to one step and its graph.
            self._numbers = None

    def _apply_weight_decay(self, variables) -> None:
        # Overrides a private method: `_decay` goes with the update of each weight.
        return

    def _update_model_variables_moving_average(self, trainable_variables) -> None:
        # Overrides a private method: Keras averages weights before it constrains them,
        # and so its average of a pruned weight is not zero.
        for variable in trainable_variables if self.use_ema else ():
            if variable.constraint is not None:
                variable.assign(variable.constraint(variable))
        super()._update_model_variables_moving_average(trainable_variables)

    def update_step(self, gradient, variable, learning_rate) -> None:
        if self._numbers is None:
            self._numbers = self._numbers_of_step()
        index = self._get_variable_index(variable)
        numbers = {
            name: tf.cast(values[index], variable.dtype)
            for name, values in self._numbers.items()
        }
        self._decay(variable, index, numbers["learning_rate"])
        self.fused_step(tf.cast(gradient, variable.dtype), variable, index, numbers)

    def fused_step(self, gradient, variable, index: int, numbers: dict) -> None:
        """Updates one weight, after its decay.

        Args:
            gradient: Dense tensor of the weight's shape and dtype.
            variable: The weight, a `tf.Variable`.
            index: Its number.
            numbers: The rate as `learning_rate` and what `shared_numbers` returned,
                the weight's own, in its dtype.
        """
        raise NotImplementedError

    def shared_numbers(self, steps: tf.Tensor) -> dict[str, tf.Tensor]:
        """Further numbers that depend only on the count of steps.

        Args:
            steps: float32 tensor `(weights,)`, 1 in the first step of each.

        Returns:
            dict of float32 tensors `(weights,)`.
        """
        return {}

    def _numbers_of_step(self) -> dict[str, list[tf.Tensor]]:
        starts = tf.maximum(self.start_steps.value, 0)
        local = tf.convert_to_tensor(self.iterations) - starts
        rules = [rule_of(variable) for variable in self._trainable_variables]
        scales = np.array([rule.learning_rate_scale for rule in rules], np.float32)
        rates = tf.cast(self.learning_rate, tf.float32) * scales
        numbers = {
            "learning_rate": rates,
            **self.shared_numbers(tf.cast(local + 1, tf.float32)),
        }
        numbers = {name: tf.unstack(values) for name, values in numbers.items()}
        for index, rule in enumerate(rules):
            own = rule.learning_rate
            if own is not None:
                own = own(local[index]) if callable(own) else own
                rate = tf.cast(own, tf.float32) * rule.learning_rate_scale
                numbers["learning_rate"][index] = rate
        return numbers

    def _decay(self, variable, index: int, rate: tf.Tensor) -> None:
        weight = self._trainable_variables[index]
        rule = rule_of(weight)
        decay = rule.weight_decay
        if decay is None:
            decay = (self._use_weight_decay(weight) and self.weight_decay) or 0.0
        if rule.l2_sp:
            anchor = tf.cast(rule.anchor.value, variable.dtype)
            pull = (decay + rule.l2_sp) * variable - rule.l2_sp * anchor
            variable.assign_sub(rate * pull)
        elif decay:
            variable.assign_sub(rate * decay * variable)
