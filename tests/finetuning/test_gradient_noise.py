"""Noise of the paper's size, alike on all replicas and in a run that goes on."""

import keras
import numpy as np
import pytest

import kmmft.finetuning as ft
from tests.finetuning import step_option_cases as cases

X = np.ones((4, 50), "float32")
Y = np.zeros((4, 40), "float32")


def train(options, strategy=None, steps=1, start=0, scale=None):
    """Weights after steps of rate 1."""
    keras.utils.set_random_seed(2)
    if strategy is not None:
        with strategy.scope():
            return _train(options, steps, start, scale)
    return _train(options, steps, start, scale)


def _train(options, steps, start, scale):
    inputs = keras.Input((50,))
    model = cases.Model(inputs, keras.layers.Dense(40, name="dense")(inputs))
    model.step_options = options
    sgd = keras.optimizers.SGD(1.0)
    if scale:
        sgd = keras.optimizers.LossScaleOptimizer(sgd, scale)
    model.compile(sgd, "mse")
    getattr(sgd, "inner_optimizer", sgd).iterations.assign(start)
    for _ in range(steps):
        model.train_on_batch(X, Y)
    return model.get_layer("dense").get_weights()[0]


def noise(step, strategy=None, scale=None, **options):
    """What the option adds to the gradient of one step."""
    option = ft.GradientNoise(**options)
    plain = train([], strategy, start=step, scale=scale)
    return plain - train([option], strategy, start=step, scale=scale)


@pytest.mark.parametrize("step", [0, 1, 30])
def test_variance_is_the_papers(step):
    values = noise(step, eta=0.3)
    expected = 0.3 / (1 + step) ** 0.55
    assert values.var() == pytest.approx(expected, rel=0.1)
    assert abs(values.mean()) < 4 * np.sqrt(expected / values.size)


def test_noise_depends_on_seed_and_step_only(two_replicas):
    values = noise(3, seed=1)
    np.testing.assert_allclose(noise(3, seed=1), values, atol=1e-5)
    # Replicas together add it once; a scaled loss does not change it.
    np.testing.assert_allclose(noise(3, two_replicas, seed=1), values, atol=1e-5)
    np.testing.assert_allclose(noise(3, scale=64.0, seed=1), values, atol=1e-4)
    for other in (noise(4, seed=1), noise(3, seed=2)):
        assert abs(np.corrcoef(other.ravel(), values.ravel())[0, 1]) < 0.1


def test_bad_arguments():
    with pytest.raises(ValueError, match="must not be negative"):
        ft.GradientNoise(eta=-1.0)
