"""Adapted models that several tests share."""

import numpy as np

from kmmft.finetuning import (
    IA3,
    BitFit,
    Bottleneck,
    DoRA,
    LoRA,
    Plan,
    PrefixTokens,
    Rule,
)
from tests.models.test_fusion_classifier import make_model

RNG = np.random.default_rng(0)
LABELS = np.array([0, 1, 2, 1])
ADAPTERS = {
    "lora": LoRA(rank=2, dropout_rate=0.1),
    "dora": DoRA(rank=2),
    "ia3": IA3(),
    "bitfit": BitFit(),
    "houlsby": Bottleneck(dim=2),
    "parallel": Bottleneck(dim=2, mode="parallel"),
    "prefix": PrefixTokens(count=2),
}


PATTERNS = {"image": "image_encoder/*", "question": "text_encoder/*"}


def adapted(adapter, names=("image",), disturbed=True):
    """A FusionClassifier whose encoders have adapters and whose head trains."""
    model = make_model(names)
    rules = [Rule(PATTERNS[name], adapter=adapter) for name in names]
    Plan([*rules, Rule("*")]).apply(model)
    for weight in model.trainable_variables if disturbed else ():
        weight.assign_add(0.3 * RNG.normal(size=weight.shape))
    return model
