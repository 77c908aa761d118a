"""Models made of encoders: plain Keras models with their raw inputs' preparation."""

from kmmft.models.contrastive_training import ContrastiveTraining
from kmmft.models.dual_encoder import DualEncoder
from kmmft.models.fusion_classifier import FusionClassifier
from kmmft.models.load_dual_encoder import load_dual_encoder
from kmmft.models.multi_task import MultiTask
from kmmft.models.task_weights import FixedWeights, GradNorm, UncertaintyWeights
from kmmft.models.tight_video_text import TightVideoText

__all__ = [
    "ContrastiveTraining",
    "DualEncoder",
    "FixedWeights",
    "FusionClassifier",
    "GradNorm",
    "MultiTask",
    "TightVideoText",
    "UncertaintyWeights",
    "load_dual_encoder",
]
