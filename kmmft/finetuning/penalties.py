"""What pulls a plan's weights: penalties of the loss, and rules for the optimizer."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from kmmft.finetuning.l2_sp import L2SP, anchor_of
from kmmft.finetuning.planned_weights import PlannedWeight
from kmmft.training import UpdateRule


class SumOfPenalties(keras.regularizers.Regularizer):
    """Several penalties on one weight."""

    def __init__(self, penalties: Sequence[Callable]):
        self.penalties = list(penalties)

    def __call__(self, x) -> tf.Tensor:
        return tf.add_n([tf.cast(penalty(x), "float32") for penalty in self.penalties])


def set_penalties(weights: Sequence[PlannedWeight]) -> list[keras.Variable]:
    """Gives each weight its penalties and its update rule.

    A penalty that a weight has already, such as a layer's `kernel_regularizer`, stays.

    Args:
        weights: All weights of the plan.

    Returns:
        The weights' starts, where they are kept: what L2-SP pulls to.

    Raises:
        ValueError: If Fisher information lacks a weight, or has another shape.
    """
    anchors = []
    for weight in weights:
        if not weight.trains:
            continue
        rule, variable = weight.rule, weight.variable
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
        _set_penalty(weight, anchor)
    return anchors


def _set_penalty(weight: PlannedWeight, anchor: keras.Variable | None) -> None:
    rule, variable = weight.rule, weight.variable
    penalties = [variable.regularizer] if variable.regularizer else []
    if rule.l2:
        penalties.append(L2SP(rule.l2))
    if rule.l2_sp and not rule.l2_sp_decoupled:
        penalties.append(L2SP(rule.l2_sp, anchor, _fisher(weight)))
    if len(penalties) == 1:
        (variable.regularizer,) = penalties
    elif penalties:
        variable.regularizer = SumOfPenalties(penalties)


def _fisher(weight: PlannedWeight) -> np.ndarray | None:
    fisher = weight.rule.fisher
    if fisher is None:
        return None
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
    return fisher[weight.path]
