"""What pulls a plan's weights: penalties of the loss, and rules for the optimizer."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from kmmft.finetuning.l2_sp import L2SP, anchor_of, kept_beside
from kmmft.finetuning.planned_weights import PlannedWeight
from kmmft.finetuning.rule import Rule
from kmmft.training import UpdateRule


class PlannedPenalties(keras.regularizers.Regularizer):
    """What a plan adds to the penalty of one weight.

    Args:
        before: The penalty that the weight had without any plan, or `None`.
        added: The plan's penalties.
    """

    def __init__(self, before: Callable | None, added: Sequence[Callable]):
        self.before = before
        self.added = list(added)

    def __call__(self, x) -> tf.Tensor:
        penalties = [*([self.before] if self.before else []), *self.added]
        return tf.add_n([tf.cast(penalty(x), "float32") for penalty in penalties])


def set_penalties(weights: Sequence[PlannedWeight]) -> list[keras.Variable]:
    """Gives each weight its penalties and its update rule.

    A penalty that a weight has already, such as a layer's `kernel_regularizer`, stays;
    one of an earlier plan, for another model with this weight, does not.

    Args:
        weights: All weights of the plan.

    Returns:
        What the penalties keep beside the model: the weights' starts, to which L2-SP
        pulls, and then their Fisher information.
    """
    anchors, fishers = [], []
    for weight in weights:
        rule, variable = weight.rule, weight.variable
        before = variable.regularizer
        if isinstance(before, PlannedPenalties):
            before = before.before
        if not weight.trains:
            variable.regularizer, variable.update_rule = before, UpdateRule()
            continue
        anchor = None
        if rule.l2_sp:
            anchor = anchor_of(variable)
            anchors.append(anchor)
        decoupled = rule.l2_sp if rule.l2_sp_decoupled else 0.0
        variable.update_rule = UpdateRule(
            learning_rate_scale=weight.learning_rate_scale,
            learning_rate=rule.learning_rate,
            weight_decay=rule.weight_decay,
            l2_sp=decoupled,
            anchor=anchor if decoupled else None,
        )
        fisher = None
        if rule.fisher is not None:
            value = np.asarray(rule.fisher[weight.path], np.float32)
            fisher = kept_beside(variable, value, "float32", "fisher")
            fishers.append(fisher)
        added = _penalties(rule, anchor, fisher)
        variable.regularizer = PlannedPenalties(before, added) if added else before
    return anchors + fishers


def _penalties(
    rule: Rule, anchor: keras.Variable | None, fisher: keras.Variable | None
) -> list[L2SP]:
    penalties = [L2SP(rule.l2)] if rule.l2 else []
    if rule.l2_sp and not rule.l2_sp_decoupled:
        penalties.append(L2SP(rule.l2_sp, anchor, fisher))
    return penalties


def check_fisher(weights: Sequence[PlannedWeight]) -> None:
    """Raises a ValueError if Fisher information lacks a weight, or does not fit it."""
    for weight in weights:
        if weight.trains and weight.rule.fisher is not None:
            _check_fisher(weight)


def _check_fisher(weight: PlannedWeight) -> None:
    fisher = weight.rule.fisher
    if weight.path not in fisher:
        raise ValueError(
            "`fisher` must hold each weight of its rule. Received: no "
            f"{weight.path!r}, only {list(fisher)[:3]} and so on. Estimate it on this "
            "model, before the plan is applied."
        )
    shape = np.shape(fisher[weight.path])
    if shape != tuple(weight.variable.shape):
        raise ValueError(
            f"`fisher` must have the weights' shapes. Received: shape {shape} for "
            f"{weight.path!r} of shape {tuple(weight.variable.shape)}."
        )
    if np.min(fisher[weight.path]) < 0:
        raise ValueError(
            "`fisher` must not be negative. Received: an entry of "
            f"{np.min(fisher[weight.path])} for {weight.path!r}. Give mean squares, as "
            "estimate_fisher does."
        )
