"""Models made of encoders: plain Keras models with their raw inputs' preparation."""

from kmmft.models.fusion_classifier import FusionClassifier

__all__ = ["FusionClassifier"]
