"""Optimizers with one kernel a weight, and rules of its own for each weight."""

from kmmft.training.optimizers.adamw import AdamW
from kmmft.training.optimizers.recipe_adamw import adamw
from kmmft.training.optimizers.sgd import SGD
from kmmft.training.optimizers.update_rule import UpdateRule

__all__ = ["SGD", "AdamW", "UpdateRule", "adamw"]
