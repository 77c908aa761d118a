import keras
import numpy as np
import pytest

import kmmft


def rates(optimizer, steps):
    for step in steps:
        optimizer.iterations.assign(step)
        yield float(optimizer.learning_rate)


def test_schedule_rises_and_falls():
    optimizer = kmmft.training.adamw(0.8, total_steps=100, warmup_fraction=0.2)
    # Linear to step 20, then half a cosine over 80 steps.
    expected = [
        0.8 / 21,
        0.4 + 0.4 / 21,
        0.8,
        0.8 * 0.5 * (1 + np.cos(np.pi / 4)),
        0.4,
        0.0,
        0.0,
    ]
    found = list(rates(optimizer, [0, 10, 20, 40, 60, 100, 120]))
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("total_steps", [2, 3, 7])
def test_short_trainings_reach_the_full_rate(total_steps):
    optimizer = kmmft.training.adamw(0.8, total_steps)
    assert max(rates(optimizer, range(total_steps))) == pytest.approx(0.8)


def normalized(seed):
    layer = keras.layers.BatchNormalization()
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), layer])
    random = np.random.default_rng(seed)
    model.set_weights([random.normal(size=v.shape) for v in model.weights])
    return model


def test_three_steps_equal_the_paper_with_decay_of_kernels_only():
    # Loshchilov & Hutter, 2017, algorithm 2, with their schedule multiplied into the
    # rate; gradients clipped by their common norm before.
    model = normalized(seed=0)
    optimizer = kmmft.training.adamw(
        0.1, total_steps=4, warmup_fraction=0.25, weight_decay=0.3, global_clipnorm=0.5
    )
    variables = model.trainable_variables
    weights = [v.numpy().astype(np.float64) for v in variables]
    first = [np.zeros_like(w) for w in weights]
    second = [np.zeros_like(w) for w in weights]
    random = np.random.default_rng(1)
    for step in range(3):
        gradients = [random.normal(size=w.shape) for w in weights]
        optimizer.apply([keras.ops.cast(g, "float32") for g in gradients], variables)
        rate = [0.05, 0.1, 0.1 * 0.5 * (1 + np.cos(np.pi / 3))][step]
        norm = np.sqrt(sum((g**2).sum() for g in gradients))
        for i, variable in enumerate(variables):
            g = gradients[i] * 0.5 / max(norm, 0.5)
            first[i] = 0.9 * first[i] + 0.1 * g
            second[i] = 0.999 * second[i] + 0.001 * g**2
            # Epsilon is that of Kingma & Ba, 2014, end of section 2 ("epsilon hat").
            scale = np.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
            update = scale * first[i] / (np.sqrt(second[i]) + 1e-7)
            decay = 0.3 if variable.name == "kernel" else 0.0
            weights[i] -= rate * (update + decay * weights[i])
    names = [variable.name for variable in variables]
    assert sorted(names) == ["beta", "bias", "gamma", "kernel"]
    for variable, expected in zip(variables, weights, strict=True):
        np.testing.assert_allclose(variable.numpy(), expected, atol=2e-5)


def test_what_does_not_decay_is_part_of_the_config():
    optimizer = kmmft.training.adamw(0.1, total_steps=4, weight_decay=0.3)
    config = keras.saving.serialize_keras_object(optimizer)
    again = keras.saving.deserialize_keras_object(config)
    variables = normalized(seed=0).trainable_variables
    again.build(variables)
    decayed = [v.name for v in variables if again._use_weight_decay(v)]
    assert decayed == ["kernel"]
    assert keras.saving.serialize_keras_object(again) == config
    plain = kmmft.training.AdamW.from_config(kmmft.training.AdamW().get_config())
    assert all(plain._use_weight_decay(variable) for variable in variables)


def test_loss_scale_does_not_change_what_decays():
    keras.config.set_dtype_policy("mixed_float16")
    model = normalized(seed=0)
    model.compile(kmmft.training.adamw(0.1, total_steps=4, weight_decay=0.3), "mse")
    inner = model.optimizer.inner_optimizer
    inner.build(model.trainable_variables)
    decayed = [v.name for v in model.trainable_variables if inner._use_weight_decay(v)]
    assert decayed == ["kernel"]
