"""Weights that begin to train later: what is frozen, kept, traced anew and resumed."""

import keras
import numpy as np
import pytest

import kmmft
from kmmft.finetuning import Plan, Rule, named_variables
from tests.finetuning.plan_cases import CountedModel, X, fit, make_model, values


class Watch(keras.callbacks.Callback):
    """Keeps the weights, and what else is asked for, after each epoch."""

    def __init__(self, look=lambda model: None):
        super().__init__()
        self.look = look
        self.weights, self.looks = [], []

    def on_train_begin(self, logs=None):
        self.weights.append(values(self.model))

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(values(self.model))
        self.looks.append(self.look(self.model))


def trained(rules, epochs, look=lambda model: None, rate=0.05, wrap=lambda x: x):
    model = make_model()
    Plan(rules).apply(model)
    model.compile(wrap(kmmft.training.AdamW(rate, weight_decay=0.0)), "mse")
    watch = Watch(look)
    fit(model, epochs, batch_size=8, callbacks=[watch])
    return model, watch


LATE = [Rule("backbone/*", train_from_epoch=2), Rule("*")]


def test_frozen_weights_are_bit_identical_until_they_begin():
    _, watch = trained(LATE, epochs=4)
    for epoch, (before, after) in enumerate(
        zip(watch.weights, watch.weights[1:], strict=False)
    ):
        for path in before:
            same = np.array_equal(before[path], after[path])
            assert same == (path.startswith("backbone") and epoch < 2), (path, epoch)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_first_update_of_a_late_weight_is_of_the_size_of_the_rate(policy):
    # Adam's first step is rate * sign(gradient); with the step count of the other
    # weights it would be some times larger.
    keras.config.set_dtype_policy(policy)
    rules = [Rule("backbone/*", train_from_epoch=20), Rule("*")]
    model, watch = trained(rules, epochs=21, rate=0.01)
    if policy == "mixed_float16":
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    before, after = watch.weights[-2:]
    for path in ("backbone/kernel", "backbone/bias"):
        np.testing.assert_allclose(
            np.abs(after[path] - before[path]), 0.01, rtol=0.01, err_msg=path
        )


def test_one_retrace_for_each_beginning():
    rules = [
        Rule("backbone/bias", train_from_epoch=3),
        Rule("backbone/*", train_from_epoch=1),
        Rule("*"),
    ]
    _, watch = trained(rules, epochs=5, look=lambda model: model.traces)
    assert watch.looks == [1, 2, 2, 3, 3]


def test_statistics_of_a_batch_norm_begin_with_its_weights():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    x = keras.layers.BatchNormalization(name="backbone")(inputs)
    model = CountedModel(inputs, keras.layers.Dense(1, name="head")(x))
    Plan(LATE).apply(model)
    model.compile(kmmft.training.AdamW(0.05), "mse")
    watch = Watch()
    fit(model, 4, batch_size=8, callbacks=[watch])
    means = [weights["backbone/moving_mean"] for weights in watch.weights]
    np.testing.assert_array_equal(means[2], means[0])
    # Keras' momentum is 0.99.
    np.testing.assert_allclose(means[3], 0.01 * X.mean(0), rtol=1e-5)
    np.testing.assert_allclose(means[4], 0.0199 * X.mean(0), rtol=1e-5)


class Modes(keras.layers.Layer):
    """Counts the calls in training mode."""

    def build(self, shape):
        self.count = self.add_weight(
            shape=(), initializer="zeros", trainable=False, name="count"
        )

    def call(self, inputs, training=None):
        if training:
            self.count.assign_add(1.0)
        return inputs


def test_encoder_runs_in_inference_mode_until_it_begins():
    pixels = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 8, name="conv")(pixels)
    backbone = keras.Model(pixels, Modes(name="modes")(x), name="backbone")
    encoder = kmmft.encoders.ImageEncoder(backbone, image_size=8)
    model = kmmft.models.FusionClassifier({"image": encoder}, None, ["a", "b"])
    finetuning = kmmft.finetuning.presets.lp_ft(probe_epochs=2).apply(model)
    model.compile(kmmft.training.AdamW(0.01))
    watch = Watch(lambda model: (encoder.trainable, float(modes.count.numpy())))
    modes = backbone.get_layer("modes")
    x = {"image": np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3))}
    model.fit(x, np.array([0, 1]), epochs=4, verbose=0, callbacks=[watch])
    assert watch.looks == [(False, 0.0), (False, 0.0), (True, 1.0), (True, 2.0)]
    assert model.finetuning is finetuning


def test_batch_norm_frozen_keeps_statistics_and_weights():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    x = keras.layers.Dense(4, name="first")(inputs)
    x = keras.layers.BatchNormalization(name="norm", scale=False, center=False)(x)
    x = keras.layers.BatchNormalization(name="other")(x)
    model = CountedModel(inputs, keras.layers.Dense(1, name="head")(x))
    Plan([Rule("*", batch_norm_frozen=True)]).apply(model)
    model.compile(kmmft.training.AdamW(0.05), "mse")
    start = values(model)
    fit(model, 2)
    for path, value in values(model).items():
        frozen = path.startswith(("norm", "other"))
        assert np.array_equal(value, start[path]) == frozen, path


def test_second_fit_does_not_begin_anew():
    model, _ = trained(LATE, epochs=3)
    starts = model.optimizer.start_steps.numpy().tolist()
    before = values(model)
    # The epochs are counted from 0 again; what has begun goes on.
    fit(model, 1)
    assert model.optimizer.start_steps.numpy().tolist() == starts
    assert (values(model)["backbone/kernel"] != before["backbone/kernel"]).all()
    assert model.traces == 2 + 1  # the batch has another size


def test_beginning_before_the_first_step_is_remembered():
    model = make_model()
    finetuning = Plan(LATE).apply(model)
    model.compile(kmmft.training.AdamW(0.05), "mse")
    # As `fit(initial_epoch=2)` does; the steps of its epoch may all have overflowed.
    finetuning.on_train_begin()
    finetuning.on_epoch_begin(2)
    assert sorted(model.optimizer.start_steps.numpy().tolist()) == [-1, -1, 0, 0]
    finetuning.on_epoch_begin(0)
    assert len(model.trainable_variables) == 4


def test_anchors_are_no_weights_of_the_model():
    model = make_model()
    names = list(named_variables(model))
    finetuning = Plan([Rule("*", l2_sp=0.1)]).apply(model)
    assert list(named_variables(model)) == names
    # Weights that are loaded later do not move where they are pulled to.
    start = [anchor.numpy() for anchor in finetuning.variables]
    model.set_weights([value + 1 for value in model.get_weights()])
    for anchor, value in zip(finetuning.variables, start, strict=True):
        np.testing.assert_array_equal(anchor.numpy(), value)
    np.testing.assert_allclose(
        sum(float(loss) for loss in model.losses),
        0.1 * sum(value.size for value in start),
        rtol=1e-5,
    )
