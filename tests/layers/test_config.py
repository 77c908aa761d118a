"""Constructor argument = attribute = config key, for every public layer."""

import inspect

import keras
import pytest

from kmmft import layers

FUSION = {
    "hidden_dim": 8,
    "dropout_rate": 0.1,
    "modality_dropout_rate": 0.2,
    "seed": 7,
}
ARGUMENTS = {
    "AttentionPooling": {
        "num_heads": 2,
        "hidden_dim": 5,
        "activation": "tanh",
        "dropout_rate": 0.1,
        "num_queries": 3,
    },
    "BilinearFusion": {**FUSION, "factor": 3},
    "Codebook": {"num_codes": 4, "decay": 0.9, "min_share": 0.2, "unit_length": True},
    "ConcatFusion": {**FUSION, "activation": "tanh"},
    "CrossAttentionFusion": {
        **FUSION,
        "query": "text",
        "num_layers": 3,
        "num_heads": 2,
    },
    "FiLMFusion": {**FUSION, "condition": "text", "num_layers": 3},
    "FrameTransformer": {"num_layers": 2, "num_heads": 3, "dropout_rate": 0.1},
    "GatedFusion": FUSION,
    "LogMel": {
        "sample_rate": 8000,
        "num_mels": 20,
        "window": 100,
        "stride": 50,
        "min_frequency": 10.0,
        "max_frequency": 3000.0,
    },
    "LogitScale": {"initial": 10.0, "maximum": 50.0, "bias": -10.0},
    "ModalityDropout": {"rate": 0.25, "seed": 7},
    "SpecAugment": {
        "num_time_masks": 1,
        "time_mask_width": 9,
        "num_frequency_masks": 3,
        "frequency_mask_width": 5,
        "max_time_share": 0.5,
        "seed": 7,
    },
    "PatchDropout": {"rate": 0.25, "prefix_tokens": 2, "seed": 7},
    "Pooling": {"mode": "max"},
    "ProjectionHead": {
        "output_dim": 4,
        "hidden_dims": (6, 7),
        "activation": "tanh",
        "dropout_rate": 0.1,
        "use_bias": False,
        "normalize": True,
        "input_dropout_rate": 0.3,
    },
    "TensorFusion": {**FUSION, "output_dim": 5},
    "TightSimilarity": {"num_layers": 2, "num_heads": 3, "chunk_size": 5},
    "TokenCrossAttention": {"num_layers": 2, "num_heads": 3, "dropout_rate": 0.1},
    "TransformerFusion": {
        **FUSION,
        "num_layers": 3,
        "num_heads": 2,
        "num_bottleneck_tokens": 4,
    },
    "UnitLength": {},
}


def parameters(layer_class):
    """Names of the arguments that our classes take, inherited ones too."""
    names = set()
    for base in layer_class.__mro__:
        if base.__module__.startswith("kmmft") and "__init__" in vars(base):
            names |= set(inspect.signature(base.__init__).parameters)
    return names - {"self", "kwargs"}


def test_every_public_layer_is_here():
    assert set(ARGUMENTS) | {"Fusion"} == set(layers.__all__)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_config_holds_every_argument(name):
    layer_class, arguments = getattr(layers, name), ARGUMENTS[name]
    assert parameters(layer_class) == set(arguments)
    layer = layer_class(**arguments, dtype="mixed_float16", name="named")
    config = layer.get_config()
    assert {key: config[key] for key in arguments} == arguments
    for key, argument in arguments.items():
        if key == "activation":
            argument = keras.activations.get(argument)
        assert getattr(layer, key) == argument
    restored = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(layer)
    )
    assert type(restored) is layer_class and restored.get_config() == config
