"""Options wrap the forward pass in order, on any number of replicas and parts."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
import kmmft.finetuning as ft
from tests.models import contrastive_cases


class Model(kmmft.training.DistributedTraining, keras.Model):
    pass


RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 3)).astype("float32")
Y = RNG.normal(size=(8, 1)).astype("float32")


class Scaled(kmmft.training.StepOption):
    """a times the loss, plus b."""

    def __init__(self, a, b=0.0):
        self.a, self.b = a, b

    def wrap(self, model, forward):
        def run(batch, part=0):
            loss, outputs = forward(batch, part)
            return self.a * loss + self.b, outputs

        return run


class Reversed(kmmft.training.StepOption):
    """The gradients, the other way round."""

    def change_gradients(self, model, gradients):
        return [-gradient for gradient in gradients]


def fit(options, strategy=None, *, middle=(), size=None, steps=3, **kwargs):
    keras.utils.set_random_seed(1)
    with (strategy or tf.distribute.get_strategy()).scope():
        inputs = h = keras.Input((3,), name="x")
        for layer in middle:
            h = layer(h)
        model = Model(inputs, keras.layers.Dense(1, name="dense")(h))
        model.step_options = options
        model.micro_batch_size = size
        model.compile(keras.optimizers.SGD(0.1), "mse", **kwargs)
    data = tf.data.Dataset.from_tensors((X, Y)).repeat(steps)
    losses = model.fit(data, steps_per_epoch=1, epochs=steps, verbose=0)
    return model, losses.history["loss"], model.get_layer("dense").get_weights()


@pytest.mark.parametrize(("replicas", "size"), [(1, None), (2, None), (1, 2), (2, 2)])
def test_options_wrap_in_order(replicas, size, two_replicas):
    """2 L + 1 and then 3 (2 L + 1), descended by hand."""
    strategy = two_replicas if replicas == 2 else None
    options = [Scaled(2.0, 1.0 / replicas), Scaled(3.0)]
    _, losses, weights = fit(options, strategy, size=size)
    keras.utils.set_random_seed(1)
    inputs = keras.Input((3,))
    start = keras.Model(inputs, keras.layers.Dense(1, name="dense")(inputs))
    w, b = start.get_weights()
    for value in losses:
        error = X @ w + b - Y
        assert value == pytest.approx(3 * (2 * (error**2).mean() + 1), rel=1e-5)
        w = w - 0.1 * 6 * 2 * X.T @ error / len(X)
        b = b - 0.1 * 6 * 2 * error.mean(0)
    np.testing.assert_allclose(weights[0], w, atol=1e-5)
    np.testing.assert_allclose(weights[1], b, atol=1e-5)


def test_gradients_are_changed_after_the_replicas_sum(two_replicas):
    seen = []

    class Noting(kmmft.training.StepOption):
        def change_gradients(self, model, gradients):
            seen.append(len(gradients))
            return gradients

    up = fit([Reversed(), Noting()], two_replicas)[2]
    _, losses, weights = fit([Reversed()])
    np.testing.assert_allclose(up[0], weights[0], atol=1e-5)
    assert losses[-1] > losses[0] > fit([])[1][-1]
    assert set(seen) == {2}


class Drawn(kmmft.training.StepOption):
    """Runs the parts that it is told."""

    def __init__(self, *parts):
        self.parts = parts

    def wrap(self, model, forward):
        def run(batch, part=0):
            passes = [forward(batch, number) for number in self.parts]
            return passes[0]

        return run


class Recorder(keras.layers.Layer):
    """Keeps what passes through in each eager call."""

    def build(self, shape):
        self.seen = []

    def call(self, inputs):
        if tf.executing_eagerly():
            self.seen.append(inputs.numpy())
        return inputs


def test_parts_number_the_dropout_masks():
    recorder = Recorder()
    middle = [keras.layers.Dropout(0.5), recorder]
    fit([Drawn(0, 1, 0, 2)], middle=middle, steps=1, run_eagerly=True)
    first, other, again, third = recorder.seen[-4:]
    np.testing.assert_array_equal(again, first)
    assert not np.array_equal(other, first)
    assert not np.array_equal(third, other)


def test_the_first_draw_is_that_of_a_step_without_options():
    dropout = [keras.layers.Dropout(0.5, seed=3)]
    plain = fit([], middle=dropout)[2]
    dropout = [keras.layers.Dropout(0.5, seed=3)]
    np.testing.assert_array_equal(fit([Drawn(0, 1)], middle=dropout)[2][0], plain[0])


def test_options_may_change_between_fits():
    model, _, weights = fit([], steps=1)
    model.step_options = [Scaled(0.0)]
    model.fit(X, Y, verbose=0)
    np.testing.assert_array_equal(model.get_layer("dense").get_weights()[0], weights[0])
    model.step_options = []
    model.fit(X, Y, verbose=0)
    assert np.abs(model.get_layer("dense").get_weights()[0] - weights[0]).max() > 1e-3


def test_models_with_options_are_saved_and_exported(tmp_path):
    model = fit([ft.FGM(0.1, layers=["x", "dense"])])[0]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(
        tmp_path / "model.keras", custom_objects={"Model": Model}
    )
    np.testing.assert_allclose(again.predict(X, verbose=0), model(X), atol=1e-6)
    model.export(tmp_path / "export", verbose=False)
    served = tf.saved_model.load(tmp_path / "export")
    np.testing.assert_allclose(served.serve(X), model(X), atol=1e-6)


OPTIONS = [
    ft.FGM(0.5, layers={"image": 4.0}, norm="inf"),
    ft.PGD(steps=2),
    ft.FreeLB(per_token=True),
    ft.SMART(noise=0.1),
    ft.VAT(xi=0.2),
    ft.RDrop(alpha=2.0),
    ft.Mixup(alpha=0.3, seed=4),
    ft.CutMix(),
    ft.GradientNoise(eta=0.3),
]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: type(option).__name__)
def test_config_makes_the_same_option(option):
    config = keras.saving.serialize_keras_object(option)
    assert keras.saving.deserialize_keras_object(config) == option


def test_contrastive_gradients_are_cached_without_wrapping_options_only():
    def train(option):
        inputs = contrastive_cases.batch()
        model = contrastive_cases.dual_encoder(dropout_rate=0.1, micro_batch_size=4)
        model.step_options = [option]
        model.compile(keras.optimizers.SGD(0.05))
        data = tf.data.Dataset.from_tensors((inputs, contrastive_cases.GROUPS))
        return model.fit(data, verbose=0).history["loss"][0]

    with pytest.raises(ValueError, match="Cached gradients cannot go with options"):
        train(ft.RDrop())
    assert np.isfinite(train(ft.GradientNoise()))


def test_two_options_of_finetuning_together(two_replicas):
    """R-Drop around FGM: two dropout draws, each with its perturbation."""
    text = "text_encoder/*embedding*"
    options = [ft.FGM(0.5, layers={text: 0.5, "image": 20.0}), ft.RDrop(2.0)]

    def train(strategy=None):
        with (strategy or tf.distribute.get_strategy()).scope():
            # Dropout that drops nothing: replicas draw masks of their own.
            model = contrastive_cases.dual_encoder(dropout_rate=1e-9)
            model.step_options = options
            model.compile(keras.optimizers.SGD(0.05))
        data = (contrastive_cases.batch(), contrastive_cases.GROUPS)
        data = tf.data.Dataset.from_tensors(data).repeat(3)
        model.fit(data, verbose=0)
        return [v.numpy() for v in model.trainable_variables]

    weights = train()
    assert contrastive_cases.largest_difference(weights, train(two_replicas)) < 2e-5


def test_what_is_no_option_is_refused():
    model = fit([])[0]
    with pytest.raises(ValueError, match=r"list of kmmft.training.StepOption"):
        model.step_options = ["fgm"]
