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


class Twins(keras.layers.Layer):
    def build(self, shape):
        for size in (2, 3):
            self.add_weight(shape=(size,), name="factor")

    def call(self, x):
        return x


class Parents(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = [keras.layers.Dense(size, name="part") for size in (2, 3)]
        # Without weights two layers may have one path.
        self.idle = [keras.layers.Identity(name="part") for _ in range(2)]

    def call(self, x):
        for part in [*self.idle, *self.parts]:
            x = part(x)
        return x


def test_two_weights_of_one_path_are_an_error():
    twins = keras.Sequential([keras.Input((2,)), Twins(name="twins")])
    with pytest.raises(
        ValueError, match=r"'twins/factor' for both .*shape \(2,\) and .*shape \(3,\)"
    ):
        named_variables(twins)
    parents = keras.Sequential([keras.Input((2,)), Parents(name="parents")])
    with pytest.raises(ValueError, match=r"'parents/part' for both Dense .* and Dense"):
        named_layers(parents)
