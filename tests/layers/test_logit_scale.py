import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft


def step(layer, gradient, optimizer):
    optimizer.apply([tf.constant(gradient)], [layer.log_scale])


def test_held_to_the_maximum_and_able_to_come_back():
    layer = kmmft.layers.LogitScale(initial=99.0, maximum=100.0)
    optimizer = keras.optimizers.SGD(1.0)
    step(layer, -5.0, optimizer)
    assert float(layer.scale()) == pytest.approx(100.0, rel=1e-6)
    # At the maximum the gradient is still that of exp: 100 d.
    with tf.GradientTape() as tape:
        logits = layer(tf.ones(()))
    gradient = tape.gradient(logits, layer.log_scale.value)
    assert float(gradient) == pytest.approx(100.0, rel=1e-5)
    step(layer, math.log(2.0), optimizer)
    assert float(layer.scale()) == pytest.approx(50.0, rel=1e-5)


def test_held_to_the_maximum_under_loss_scaling():
    layer = kmmft.layers.LogitScale(initial=99.0)
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1.0))
    optimizer.build([layer.log_scale])
    step(layer, -5.0 * float(optimizer.dynamic_scale), optimizer)
    assert float(layer.scale()) == pytest.approx(100.0, rel=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
def test_float32_under_every_policy(policy):
    keras.config.set_dtype_policy(policy)
    layer = kmmft.layers.LogitScale(initial=99.9, bias=-10.1)
    logits = layer(tf.ones((1,), "bfloat16"))
    assert layer.log_scale.dtype == layer.logit_bias.dtype == "float32"
    assert logits.dtype == tf.float32
    np.testing.assert_allclose(logits, [89.8], rtol=1e-5)


def test_saved_with_its_model(tmp_path):
    similarity = keras.Input((2,))
    layer = kmmft.layers.LogitScale(10.0, bias=-10.0, name="logit_scale")
    model = keras.Model(similarity, layer(similarity))
    layer.log_scale.assign(math.log(20.0))
    layer.logit_bias.assign(3.0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(np.eye(2)), 20 * np.eye(2) + 3, rtol=1e-6)
    names = [variable.path for variable in again.trainable_variables]
    assert names == ["logit_scale/logit_scale", "logit_scale/logit_bias"]


def test_left_out_of_weight_decay():
    layer = kmmft.layers.LogitScale(initial=50.0)
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["logit_scale", "logit_bias"])
    step(layer, 0.0, optimizer)
    assert float(layer.scale()) == pytest.approx(50.0, rel=1e-6)


@pytest.mark.parametrize("initial", [0.0, 101.0])
def test_initial_out_of_range(initial):
    with pytest.raises(ValueError, match="`initial` must be above 0"):
        kmmft.layers.LogitScale(initial=initial)
