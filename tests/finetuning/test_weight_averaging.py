"""Averages along a training, against alg. 1 in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.finetuning import StochasticWeightAveraging as Averaging
from kmmft.finetuning import update_batch_norm
from tests.finetuning.plan_cases import X, fit, make_model, values
from tests.training.killed_runs import KillAt, Killed, examples


class Recorder(keras.callbacks.Callback):
    """The weights after each step."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(values(self.model))


def algorithm_1(models):
    """w_swa = (w_swa n + w) / (n + 1), in float64."""
    averages = {path: value.astype("float64") for path, value in models[0].items()}
    for n, weights in enumerate(models[1:], start=1):
        for path, weight in weights.items():
            averages[path] = (averages[path] * n + weight) / (n + 1)
    return averages


def assert_close(found, expected, rtol=1e-6, atol=1e-6):
    for path, value in expected.items():
        np.testing.assert_allclose(found[path], value, rtol, atol, err_msg=path)


def compiled(model, rate=0.1):
    # The average is taken between steps: on one device these need no graph.
    eager = model.distribute_strategy.num_replicas_in_sync == 1
    with model.distribute_strategy.scope():
        model.compile(kmmft.training.SGD(rate), "mse", run_eagerly=eager)
    return model


# 5 epochs of 2 steps. Those that count, from 0.
@pytest.mark.parametrize(
    ("settings", "counted"),
    [
        ({"start_epoch": 0}, [1, 3, 5, 7, 9]),
        ({"start_epoch": 2}, [5, 7, 9]),
        ({"start_epoch": 4}, [9]),
        ({"start_epoch": 2, "every_steps": 1}, [4, 5, 6, 7, 8, 9]),
        ({"start_epoch": 1, "every_steps": 3}, [4, 7]),
    ],
)
def test_average_is_that_of_the_algorithm(settings, counted):
    model, recorder = compiled(make_model()), Recorder()
    averaging = Averaging(model, **settings)
    fit(model, epochs=5, callbacks=[averaging, recorder])
    assert averaging.count == len(counted)
    models = [recorder.steps[step] for step in counted]
    assert_close(values(model), algorithm_1(models))
    moved = models[0]["head/kernel"] - recorder.steps[-2]["head/kernel"]
    assert np.abs(moved).max() > 1e-3


def test_training_itself_is_not_changed():
    plain, averaged = compiled(make_model()), compiled(make_model())
    first, second = Recorder(), Recorder()
    fit(plain, epochs=3, callbacks=[first])
    fit(averaged, epochs=3, callbacks=[Averaging(averaged, 0), second])
    for one, other in zip(first.steps, second.steps, strict=True):
        for path, value in one.items():
            np.testing.assert_array_equal(other[path], value)


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16"])
def test_average_is_kept_in_float32(policy):
    keras.config.set_dtype_policy(policy)
    model, recorder = compiled(make_model(), rate=0.01), Recorder()
    averaging = Averaging(model, start_epoch=0, every_steps=1, apply_at_end=False)
    fit(model, epochs=4, callbacks=[averaging, recorder])
    expected = algorithm_1(
        [{path: v.astype("float64") for path, v in s.items()} for s in recorder.steps]
    )
    kept = dict(zip(values(model), averaging.variables, strict=False))
    # Eight steps of bfloat16 would be off by more than 1e-3.
    assert_close({path: v.numpy() for path, v in kept.items()}, expected)
    averaging.apply()
    for path, value in values(model).items():
        exact = expected[path].astype("float32").astype(value.dtype)
        assert_close({path: value.astype("float32")}, {path: exact.astype("float32")})


def test_average_on_two_replicas(two_replicas):
    found = []
    for strategy in (tf.distribute.get_strategy(), two_replicas):
        with strategy.scope():
            model = compiled(make_model())
        recorder = Recorder()
        fit(model, epochs=4, callbacks=[Averaging(model, 1), recorder])
        models = [recorder.steps[step] for step in (3, 5, 7)]
        assert_close(values(model), algorithm_1(models))
        found.append(values(model))
    assert_close(found[1], found[0], rtol=1e-5)
    kernel = model.get_layer("head").kernel.value
    for copy in two_replicas.experimental_local_results(kernel):
        np.testing.assert_array_equal(copy.numpy(), found[1]["head/kernel"])


def test_frozen_weights_rest_and_late_ones_count():
    model = make_model()
    rules = [
        kmmft.finetuning.Rule("backbone/bias", train=False),
        kmmft.finetuning.Rule("backbone/*", train_from_epoch=2),
        kmmft.finetuning.Rule("*"),
    ]
    kmmft.finetuning.Plan(rules).apply(model)
    compiled(model)
    start, recorder = values(model), Recorder()
    averaging = Averaging(model, start_epoch=1)
    fit(model, epochs=4, callbacks=[averaging, recorder])
    assert_close(values(model), algorithm_1([recorder.steps[n] for n in (3, 5, 7)]))
    np.testing.assert_array_equal(
        values(model)["backbone/bias"], start["backbone/bias"]
    )
    # Until they began the average is these weights, bit for bit.
    np.testing.assert_array_equal(
        recorder.steps[3]["backbone/kernel"], start["backbone/kernel"]
    )
    assert np.abs(values(model)["backbone/kernel"] - start["backbone/kernel"]).max() > 0
    assert len(averaging.variables) == 3 + 2


def test_models_of_plain_keras():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(1, name="head")(inputs))
    model.compile(keras.optimizers.Adam(0.1), "mse")
    recorder = Recorder()
    fit(model, epochs=2, callbacks=[Averaging(model, 0), recorder])
    assert_close(values(model), algorithm_1([recorder.steps[1], recorder.steps[3]]))


def test_several_steps_of_one_execution():
    model, recorder = make_model(), Recorder()
    model.compile(kmmft.training.SGD(0.1), "mse", steps_per_execution=2)
    fit(model, epochs=3, callbacks=[Averaging(model, 0, every_steps=2), recorder])
    assert_close(values(model), algorithm_1(recorder.steps))


def test_averaged_model_is_as_if_its_statistics_were_kept(caplog):
    """After an average and an update, inference on the data is as in training."""
    inputs = keras.Input((4,))
    norm = keras.layers.BatchNormalization(name="norm")
    x = norm(keras.layers.Dense(3, name="lower")(inputs))
    model = compiled(keras.Model(inputs, keras.layers.Dense(1, name="head")(x)))
    fit(model, epochs=4, callbacks=[Averaging(model, 1)])
    assert "update_batch_norm" in caplog.text
    update_batch_norm(model, [X])
    np.testing.assert_allclose(
        model(X, training=False), model(X, training=True), atol=1e-5
    )


# === Resumption ===


def resumable(folder, strategy, plan, every_steps, seed=3, callbacks=()):
    """3 epochs of 4 steps; returns the weights, the average and its count."""
    with strategy.scope():
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((4,))
        x = keras.layers.Dense(6, name="lower")(inputs)
        x = keras.layers.Dropout(0.5, name="drop")(x)
        model = type(make_model())(inputs, keras.layers.Dense(1, name="head")(x))
        if plan:
            rules = [kmmft.finetuning.Rule("*", l2_sp=0.1)]
            kmmft.finetuning.Plan(rules).apply(model)
        model.compile(kmmft.training.AdamW(1e-2), "mse")
    averaging = Averaging(model, 1, every_steps, apply_at_end=False)
    config = kmmft.training.RecipeConfig()
    with kmmft.training.RunDirectory(folder, config) as run:
        kmmft.training.resumable_fit(
            model,
            examples,
            run=run,
            steps_per_epoch=4,
            epochs=3,
            callbacks=[averaging, *callbacks],
            checkpoint_every_seconds=0.0,
            verbose=0,
        )
    last = values(model)
    averaging.apply()
    return last, values(model), averaging.count


# At a step that counts, and between two.
@pytest.mark.parametrize(
    ("plan", "every_steps", "steps"),
    [(True, 3, [7, 9]), (False, None, [6])],
)
def test_killed_and_resumed_is_bitwise_uninterrupted(
    plan, every_steps, steps, tmp_path
):
    one = tf.distribute.get_strategy()
    whole = resumable(tmp_path / "whole", one, plan, every_steps)
    assert whole[2] == 2
    for step in steps:
        folder = tmp_path / str(step)
        with pytest.raises(Killed):
            resumable(folder, one, plan, every_steps, callbacks=[KillAt(step)])
        part = resumable(folder, one, plan, every_steps, seed=4)
        assert part[2] == whole[2]
        for found, expected in zip(part[:2], whole[:2], strict=True):
            for path, value in expected.items():
                np.testing.assert_array_equal(found[path], value)
    # A finished run that is called again has the average too.
    again = resumable(folder, one, plan, every_steps, seed=5)
    np.testing.assert_array_equal(again[1]["head/kernel"], whole[1]["head/kernel"])
    assert np.abs(whole[0]["head/kernel"] - whole[1]["head/kernel"]).max() > 1e-4


def test_resumed_on_two_replicas(two_replicas, tmp_path):
    whole = resumable(tmp_path / "whole", two_replicas, False, 3)
    kill = [KillAt(9)]
    with pytest.raises(Killed):
        resumable(tmp_path / "part", two_replicas, False, 3, callbacks=kill)
    part = resumable(tmp_path / "part", two_replicas, False, 3, seed=4)
    for path, value in whole[1].items():
        np.testing.assert_array_equal(part[1][path], value)


# === What goes wrong ===


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"start_epoch": -1}, "`start_epoch` must be at least 0"),
        ({"start_epoch": 0, "every_steps": 0}, "every_steps=0"),
    ],
)
def test_bad_settings_are_errors(settings, match):
    with pytest.raises(ValueError, match=match):
        Averaging(make_model(), **settings)


def test_nothing_to_average_is_an_error():
    for model in (keras.Sequential([keras.layers.Dense(1)]), make_model()):
        model.trainable = False
        with pytest.raises(ValueError, match="must be weights to average"):
            Averaging(model, 0)


def test_start_after_the_end_is_an_error():
    model = compiled(make_model())
    with pytest.raises(ValueError, match=r"start_epoch=2 and epochs=2 .*lower"):
        fit(model, epochs=2, callbacks=[Averaging(model, 2)])
    averaging = Averaging(compiled(make_model()), 2, apply_at_end=False)
    fit(averaging.model, epochs=2, callbacks=[averaging])
    with pytest.raises(ValueError, match="An average needs weights"):
        averaging.apply()


def test_training_on_from_the_average_is_an_error():
    model = compiled(make_model())
    averaging = Averaging(model, 0)
    fit(model, epochs=1, callbacks=[averaging])
    with pytest.raises(ValueError, match="apply_at_end=False"):
        fit(model, epochs=1, callbacks=[averaging])


def test_another_model_is_an_error():
    averaging, other = Averaging(make_model(), 0), compiled(make_model())
    with pytest.raises(ValueError, match="for the model that it was made with"):
        fit(other, epochs=1, callbacks=[averaging])


def test_a_later_plan_is_an_error():
    model = make_model()
    Averaging(model, 0)
    with pytest.raises(ValueError, match=r"before.*StochasticWeightAveraging"):
        kmmft.finetuning.Plan([kmmft.finetuning.Rule("*")]).apply(model)
