"""Models made of encoders: plain Keras models with their raw inputs' preparation."""

from kmmft.models.contrastive_training import ContrastiveTraining
from kmmft.models.dual_encoder import DualEncoder
from kmmft.models.fusion_classifier import FusionClassifier
from kmmft.models.load_dual_encoder import load_dual_encoder

__all__ = [
    "ContrastiveTraining",
    "DualEncoder",
    "FusionClassifier",
    "load_dual_encoder",
]
