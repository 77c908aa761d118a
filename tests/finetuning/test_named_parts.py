import keras
import keras_hub
import pytest

import kmmft
from kmmft.finetuning import named_layers, named_variables


def test_paths_by_hand():
    inner = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(3, name="dense")], name="inner"
    )
    inputs = keras.Input((2,))
    outputs = keras.layers.Dense(1, name="head", use_bias=False)(inner(inputs))
    model = keras.Model(inputs, outputs)
    assert list(named_layers(model)) == ["inner", "head", "inner/dense"]
    paths = ["inner/dense/kernel", "inner/dense/bias", "head/kernel"]
    assert list(named_variables(model)) == paths
    for path, own in zip(paths, model.weights, strict=True):
        assert named_variables(model)[path] is own


def test_of_several_paths_the_shortest_counts():
    shared = keras.layers.Dense(2, name="shared")
    inputs = keras.Input((2,))
    within = keras.Model(inputs, shared(inputs), name="within")
    again = keras.Input((2,))
    model = keras.Model(again, shared(within(again)))
    assert list(named_variables(model)) == ["shared/kernel", "shared/bias"]


def test_model_with_encoders():
    backbone = keras_hub.models.ViTBackbone((32, 32, 3), 16, 1, 2, 8, 16, name="vit")
    model = kmmft.models.FusionClassifier(
        {"image": kmmft.encoders.ImageEncoder(backbone)}, None, ["a", "b"]
    )
    paths = named_variables(model)
    query = "image_encoder/vit/vit_encoder/transformer_block_1/mha/query/kernel"
    assert query in paths
    assert "logits/kernel" in paths
    assert {id(v) for v in paths.values()} == {id(v) for v in model.weights}


def test_model_that_is_not_built():
    with pytest.raises(ValueError, match="must be built"):
        named_variables(keras.Sequential([keras.layers.Dense(1)]))
