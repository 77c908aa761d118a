"""How good vectors, answers and texts are, by numbers that need no model."""

from kmmft.metrics.bleu import bleu
from kmmft.metrics.caption_metrics import caption_metrics
from kmmft.metrics.caption_tokens import caption_tokens
from kmmft.metrics.cider import CiderD, cider_d
from kmmft.metrics.frechet_distance import frechet_distance
from kmmft.metrics.full_precision import full_precision
from kmmft.metrics.mean_discrepancy import MeanDiscrepancy, mean_discrepancy
from kmmft.metrics.meteor import meteor
from kmmft.metrics.retrieval import (
    retrieval_metrics,
    two_way_retrieval,
    two_way_retrieval_from_scores,
)
from kmmft.metrics.rouge import rouge_l
from kmmft.metrics.unit_vectors import unit_vectors
from kmmft.metrics.vqa_accuracy import (
    normalize_answer,
    vqa_accuracy,
    vqa_accuracy_of_each,
)

__all__ = [
    "CiderD",
    "MeanDiscrepancy",
    "bleu",
    "caption_metrics",
    "caption_tokens",
    "cider_d",
    "frechet_distance",
    "full_precision",
    "mean_discrepancy",
    "meteor",
    "normalize_answer",
    "retrieval_metrics",
    "rouge_l",
    "two_way_retrieval",
    "two_way_retrieval_from_scores",
    "unit_vectors",
    "vqa_accuracy",
    "vqa_accuracy_of_each",
]
