"""Losses that Keras does not have."""

from kmmft.losses.contrastive_loss import ContrastiveLoss
from kmmft.losses.distillation import Distillation
from kmmft.losses.embeddings import Embeddings
from kmmft.losses.info_nce import InfoNCE
from kmmft.losses.matryoshka import Matryoshka
from kmmft.losses.sampled_softmax import sampled_softmax
from kmmft.losses.siglip import SigLIP
from kmmft.losses.similarity_discrimination import SimilarityDiscrimination
from kmmft.losses.sparse_targets import SparseTargets
from kmmft.losses.supervised_contrastive import SupervisedContrastive
from kmmft.losses.task_loss import TASKS, task_loss
from kmmft.losses.triplet import Triplet

__all__ = [
    "TASKS",
    "ContrastiveLoss",
    "Distillation",
    "Embeddings",
    "InfoNCE",
    "Matryoshka",
    "SigLIP",
    "SimilarityDiscrimination",
    "SparseTargets",
    "SupervisedContrastive",
    "Triplet",
    "sampled_softmax",
    "task_loss",
]
