"""Losses that Keras does not have."""

from kmmft.losses.sparse_targets import SparseTargets

__all__ = ["SparseTargets"]
