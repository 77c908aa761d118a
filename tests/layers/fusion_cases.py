"""Every fusion in a small size, and features to call it on."""

import functools

import numpy as np

from kmmft import layers
from tests.layers.references import randomize

DIMS = {"image": 6, "text": 4}
CASES = {
    "concat": (layers.ConcatFusion, {}),
    "gated": (layers.GatedFusion, {}),
    "mlb": (layers.BilinearFusion, {}),
    "mfb": (layers.BilinearFusion, {"factor": 3}),
    "film": (layers.FiLMFusion, {"condition": "text"}),
    "one_way": (layers.CrossAttentionFusion, {"query": "text", "num_heads": 2}),
    "two_way": (layers.CrossAttentionFusion, {"num_heads": 2}),
    "merged": (layers.TransformerFusion, {"num_layers": 1, "num_heads": 2}),
    "bottleneck": (
        layers.TransformerFusion,
        {"num_layers": 2, "num_heads": 2, "num_bottleneck_tokens": 2},
    ),
    "tensor": (layers.TensorFusion, {"output_dim": 8}),
}


def make(case, **kwargs):
    fusion, defaults = CASES[case]
    return fusion(8, **{**defaults, **kwargs})


def make_features(batch=3, dims=DIMS, seed=0):
    """Encoder outputs; of five tokens the last two are padding."""
    generator = np.random.default_rng(seed)
    return {
        name: {
            "pooled": generator.normal(size=(batch, dim)).astype("float32"),
            "tokens": generator.normal(size=(batch, 5, dim)).astype("float32"),
            "mask": np.arange(5) < np.full((batch, 1), 3),
        }
        for name, dim in dims.items()
    }


def make_built(case, features=None, **kwargs):
    """A fusion on which `features` were called, with weights all over the place."""
    layer = make(case, **kwargs)
    layer(make_features() if features is None else features)
    randomize(layer)
    return layer


@functools.cache
def shared(case):
    """The same, one for all tests that do not change it."""
    return make_built(case, modality_dropout_rate=0.6, seed=1)


@functools.cache
def shared_fresh(case):
    """A fusion as it is initialised, for tests that do not change it."""
    layer = make(case)
    layer(make_features())
    return layer
