"""Merging, saving whole, and adapters in files of their own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kmmft.finetuning import (
    DoRA,
    LoRA,
    merge_adapters,
    named_layers,
    named_variables,
    unmerge_adapters,
)
from tests.finetuning.adapter_cases import ADAPTERS, RNG, adapted
from tests.models.test_dual_encoder import TEXTS
from tests.models.test_dual_encoder import make_model as make_dual
from tests.models.test_fusion_classifier import batch_of, make_model

MERGEABLE = ("lora", "dora", "ia3")


def insert(model, adapter):
    weights = adapter.insert(model, named_layers(model))
    for weight in weights:
        weight.assign(RNG.normal(size=weight.shape))
    return weights


@pytest.mark.parametrize("kind", MERGEABLE)
def test_merged_equals_unmerged_and_is_plain(kind, tmp_path):
    names = ("image", "question") if kind == "lora" else ("image",)
    model = adapted(ADAPTERS[kind], names)
    batch = batch_of(model)
    before, plain = model(batch).numpy(), make_model(names)
    base = {path: v.numpy() for path, v in named_variables(model).items()}
    merge_adapters(model)
    np.testing.assert_allclose(model(batch), before, atol=1e-5)
    assert [v.shape for v in model.weights] == [v.shape for v in plain.weights]
    layers = zip(
        named_layers(model).values(), named_layers(plain).values(), strict=True
    )
    assert all(type(one) is type(other) for one, other in layers)
    model.save(tmp_path / "merged.keras")
    again = keras.saving.load_model(tmp_path / "merged.keras", compile=False)
    np.testing.assert_array_equal(again(batch), model(batch))
    unmerge_adapters(model)
    after = {path: v.numpy() for path, v in named_variables(model).items()}
    assert list(after) == list(base)
    for path, value in after.items():
        np.testing.assert_array_equal(value, base[path], err_msg=path)
    np.testing.assert_array_equal(model(batch), before)


@pytest.mark.parametrize("kind", ["conv", "embedding", "depthwise", "einsum"])
def test_other_layers_merge_too(kind):
    layer, shape, dtype = {
        "conv": (keras.layers.Conv2D(3, 2), (4, 4, 2), "float32"),
        "embedding": (keras.layers.Embedding(5, 3), (4,), "int32"),
        "depthwise": (keras.layers.DepthwiseConv2D(2), (4, 4, 2), "float32"),
        "einsum": (
            keras.layers.EinsumDense("abc,cd->abd", (None, 3)),
            (4, 2),
            "float32",
        ),
    }[kind]
    inputs = keras.Input(shape, dtype=dtype)
    model = keras.Model(inputs, layer(inputs))
    x = RNG.integers(0, 5, (2, *shape)).astype(dtype)
    insert(model, LoRA(rank=2))
    before = model(x)
    with pytest.raises(ValueError, match="cannot be saved whole or cloned"):
        keras.models.clone_model(model)
    merge_adapters(model)
    np.testing.assert_allclose(model(x), before, rtol=1e-5, atol=1e-4)
    keras.models.clone_model(model)


def test_a_graph_traced_before_a_merge_stays_right():
    model = adapted(DoRA(rank=2))
    batch = batch_of(model)
    answer = tf.function(lambda x: model(x, training=False))
    before = answer(batch).numpy()
    merge_adapters(model)
    np.testing.assert_allclose(answer(batch), before, atol=1e-5)
    unmerge_adapters(model)
    np.testing.assert_array_equal(answer(batch), before)


def test_a_merge_is_not_undone_over_later_changes():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="dense")])
    insert(model, LoRA(rank=2))
    merge_adapters(model)
    kernel = model.get_layer("dense").kernel
    before = kernel.numpy()
    kernel.assign(before + 1)
    with pytest.raises(ValueError, match="'dense', whose weights have changed"):
        unmerge_adapters(model)
    np.testing.assert_array_equal(kernel, before + 1)
    kernel.assign(before)
    unmerge_adapters(model)


@pytest.mark.parametrize("kind", ["houlsby", "parallel", "prefix"])
def test_what_cannot_be_merged_is_named(kind):
    model = adapted(ADAPTERS[kind])
    name = type(ADAPTERS[kind]).__name__
    with pytest.raises(ValueError, match=rf"Received: {name} in \['.*mha"):
        merge_adapters(model)
    with pytest.raises(ValueError, match="There must be adapters to merge"):
        merge_adapters(make_model(("image",)))
    with pytest.raises(ValueError, match="There must be merged adapters"):
        unmerge_adapters(model)


@pytest.mark.parametrize("kind", ["lora", "prefix", "parallel"])
def test_an_adapted_model_refuses_to_be_saved_whole(kind, tmp_path):
    model = adapted(ADAPTERS[kind])
    for part in (model, model.encoders["image"], model.encoders["image"].backbone):
        with pytest.raises(ValueError, match="cannot be saved whole or cloned"):
            part.save(tmp_path / "model.keras")
    # The way around the refusal is shut too.
    model.save_weights(tmp_path / "adapted.weights.h5")
    with pytest.raises(ValueError, match=r"expected \d variables, but received"):
        make_model(("image",)).load_weights(tmp_path / "adapted.weights.h5")


def test_encoders_of_a_dual_encoder_follow():
    """Also what was encoded, and so traced, before."""
    model = make_dual()
    before = model.encode_text(TEXTS)
    weights = insert(model, LoRA(rank=2, targets="text_encoder/*"))
    after = model.encode_text(TEXTS)
    assert np.abs(after - before).max() > 1e-2
    merge_adapters(model.encoders["text"])
    np.testing.assert_allclose(model.encode_text(TEXTS), after, atol=1e-5)
    assert not any(weight is v for weight in weights for v in model.weights)
