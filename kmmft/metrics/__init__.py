"""How good vectors and answers are, by numbers that need no model."""

from kmmft.metrics.full_precision import full_precision
from kmmft.metrics.retrieval import (
    retrieval_metrics,
    two_way_retrieval,
    two_way_retrieval_from_scores,
)
from kmmft.metrics.unit_vectors import unit_vectors

__all__ = [
    "full_precision",
    "retrieval_metrics",
    "two_way_retrieval",
    "two_way_retrieval_from_scores",
    "unit_vectors",
]
