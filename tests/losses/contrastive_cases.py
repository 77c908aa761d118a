"""The contrastive losses that every test of the family goes through."""

import keras
import numpy as np
import pytest

import kmmft

losses = kmmft.losses
SCHEDULE = keras.optimizers.schedules.PolynomialDecay(0.9, 10, 0.1)
CASES = {
    "info_nce": lambda **k: losses.InfoNCE(label_smoothing=0.1, **k),
    "info_nce_ignore": lambda **k: losses.InfoNCE(same_group="ignore", **k),
    "siglip": lambda **k: losses.SigLIP(**k),
    "siglip_ignore": lambda **k: losses.SigLIP(same_group="ignore", **k),
    "similarity_discrimination": lambda **k: losses.SimilarityDiscrimination(
        SCHEDULE, margin=0.1, **k
    ),
    "hardest": lambda **k: losses.Triplet(0.5, **k),
    "semi_hard": lambda **k: losses.Triplet(0.5, "semi_hard", **k),
    "all": lambda **k: losses.Triplet(0.5, "all", **k),
    "supervised": lambda **k: losses.SupervisedContrastive(**k),
    "matryoshka": lambda **k: losses.Matryoshka(losses.InfoNCE(**k), (8, 4), (1, 0.5)),
    "distillation": lambda **k: losses.Distillation(
        losses.SigLIP(**k), weight=0.5, temperature=0.1
    ),
}

GROUPS = np.array([0, 0, 1, 2, 1, 3, 4])
every_loss = pytest.mark.parametrize("name", CASES)


def towers(batch=7, dim=8, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(2, batch, dim))
    return list(vectors.astype("float32"))


def teachers_for(name, batch=7):
    return towers(batch, 5, seed=1) if name == "distillation" else None
