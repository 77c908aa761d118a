"""How good vectors, answers and texts are, by numbers that need no model."""

from kmmft.metrics.bleu import bleu
from kmmft.metrics.caption_metrics import caption_metrics
from kmmft.metrics.caption_tokens import caption_tokens
from kmmft.metrics.cider import CiderD, cider_d
from kmmft.metrics.cider_reward import CiderReward
from kmmft.metrics.clip_score import clip_scores
from kmmft.metrics.entities import entities, entity_metrics
from kmmft.metrics.frechet_distance import frechet_distance
from kmmft.metrics.full_precision import full_precision
from kmmft.metrics.mean_discrepancy import MeanDiscrepancy, mean_discrepancy
from kmmft.metrics.meteor import meteor
from kmmft.metrics.next_item import next_item_gains
from kmmft.metrics.regression import regression_metrics
from kmmft.metrics.retrieval import (
    retrieval_metrics,
    two_way_retrieval,
    two_way_retrieval_from_scores,
)
from kmmft.metrics.rouge import rouge_l
from kmmft.metrics.squad import (
    best_no_answer_threshold,
    normalize_squad_answer,
    squad_metrics,
    squad_scores_of_each,
)
from kmmft.metrics.text_to_text import text_to_text_metrics
from kmmft.metrics.unit_vectors import unit_vectors
from kmmft.metrics.vqa_accuracy import (
    normalize_answer,
    vqa_accuracy,
    vqa_accuracy_of_each,
)

__all__ = [
    "CiderD",
    "CiderReward",
    "MeanDiscrepancy",
    "best_no_answer_threshold",
    "bleu",
    "caption_metrics",
    "caption_tokens",
    "cider_d",
    "clip_scores",
    "entities",
    "entity_metrics",
    "frechet_distance",
    "full_precision",
    "mean_discrepancy",
    "meteor",
    "next_item_gains",
    "normalize_answer",
    "normalize_squad_answer",
    "regression_metrics",
    "retrieval_metrics",
    "rouge_l",
    "squad_metrics",
    "squad_scores_of_each",
    "text_to_text_metrics",
    "two_way_retrieval",
    "two_way_retrieval_from_scores",
    "unit_vectors",
    "vqa_accuracy",
    "vqa_accuracy_of_each",
]
