"""Losses that Keras does not have."""

from kmmft.losses.sparse_targets import SparseTargets
from kmmft.losses.task_loss import TASKS, task_loss

__all__ = ["TASKS", "SparseTargets", "task_loss"]
