import keras
import numpy as np
import pytest

import kmmft
from tests.training.killed_runs import KillAt, Killed, examples


def make_model():
    keras.utils.set_random_seed(3)
    inputs = keras.Input((4,))
    x = keras.layers.Dense(8, activation="relu")(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.5)(x)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    # By its name Keras would make the metric in the step, and trace that twice.
    mae = keras.metrics.MeanAbsoluteError("mae")
    model.compile(kmmft.training.adamw(1e-2, total_steps=12), "mse", metrics=[mae])
    return model


VALIDATION = examples(9_990).take(2)


def fit(folder, config, callbacks=(), **kwargs):
    model = make_model()
    with kmmft.training.RunDirectory(folder, config) as run:
        kmmft.training.resumable_fit(
            model,
            examples,
            run=run,
            steps_per_epoch=4,
            epochs=3,
            validation_data=VALIDATION,
            callbacks=callbacks,
            checkpoint_every_seconds=0.0,
            verbose=0,
            **kwargs,
        )
        return [v.numpy() for v in model.weights], run.history()


CONFIG = kmmft.training.RecipeConfig()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("whole"), CONFIG)


@pytest.mark.parametrize("step", [1, 4, 6, 11])
def test_killed_and_resumed_run_ends_with_the_same_weights(
    step, uninterrupted, tmp_path
):
    with pytest.raises(Killed):
        fit(tmp_path, CONFIG, callbacks=[KillAt(step)])
    weights, history = fit(tmp_path, CONFIG)
    for one, other in zip(weights, uninterrupted[0], strict=True):
        np.testing.assert_array_equal(one, other)
    for row, other in zip(history, uninterrupted[1], strict=True):
        assert row["val_mae"] == other["val_mae"]


def test_finished_training_is_not_run_again(uninterrupted, tmp_path):
    weights, _ = fit(tmp_path, CONFIG)
    again, _ = fit(tmp_path, CONFIG, callbacks=[KillAt(1)])
    for one, other in zip(again, weights, strict=True):
        np.testing.assert_array_equal(one, other)


class Scripted(keras.callbacks.Callback):
    """Puts a known value into the logs, as a validation metric would be."""

    def __init__(self, values):
        super().__init__()
        self.values = values
        self.weights = []

    def on_epoch_end(self, epoch, logs=None):
        logs["val_score"] = self.values[epoch]
        self.weights.append([v.numpy() for v in self.model.weights])


def test_best_weights_are_kept_and_patience_ends_the_training(tmp_path):
    script = Scripted([0.9, 0.5, 0.4])
    weights, history = fit(
        tmp_path, CONFIG, callbacks=[script], monitor="val_score", patience=1
    )
    assert [row["val_score"] for row in history] == [0.9, 0.5]
    for one, other in zip(weights, script.weights[0], strict=True):
        np.testing.assert_array_equal(one, other)


def test_patience_survives_a_kill(tmp_path):
    values = [0.9, 0.5, 0.4]
    with pytest.raises(Killed):
        fit(
            tmp_path,
            CONFIG,
            callbacks=[Scripted(values), KillAt(6)],
            monitor="val_score",
            patience=1,
        )
    _, history = fit(
        tmp_path, CONFIG, callbacks=[Scripted(values)], monitor="val_score", patience=1
    )
    assert [row["val_score"] for row in history] == [0.9, 0.5]


def test_lower_is_better_for_a_loss(tmp_path):
    script = Scripted([0.9, 0.5, 0.6])
    model = make_model()
    with kmmft.training.RunDirectory(tmp_path, CONFIG) as run:

        class Rename(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                logs["val_loss"] = logs["val_score"]

        kmmft.training.resumable_fit(
            model,
            examples,
            run=run,
            steps_per_epoch=4,
            epochs=3,
            callbacks=[script, Rename()],
            monitor="val_loss",
            verbose=0,
        )
    for variable, other in zip(model.weights, script.weights[1], strict=True):
        np.testing.assert_array_equal(variable.numpy(), other)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    def broken(step):
        return examples(step).map(lambda x, y: (x, y * float("nan")))

    with (
        kmmft.training.RunDirectory(tmp_path, CONFIG) as run,
        pytest.raises(ValueError, match=r"loss must stay finite\. Received: nan"),
    ):
        kmmft.training.resumable_fit(
            make_model(), broken, run=run, steps_per_epoch=2, epochs=1, verbose=0
        )


def test_unknown_monitor(tmp_path):
    with pytest.raises(ValueError, match=r"'val_accuracy'. Choose one of.*val_loss"):
        fit(tmp_path, CONFIG, monitor="val_accuracy")


def test_checkpoint_of_another_model(tmp_path):
    fit(tmp_path, CONFIG)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile("adam", "mse")
    checkpointer = kmmft.training.Checkpointer(tmp_path / "checkpoints", model)
    with pytest.raises(ValueError, match="same model and optimizer"):
        checkpointer.restore()


def test_checkpoint_keeps_the_loss_scale_of_float16(tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    model = make_model()
    path = tmp_path / "checkpoints"
    checkpointer = kmmft.training.Checkpointer(path, model)
    model.fit(examples(0).take(2), callbacks=[checkpointer], verbose=0)
    scale = float(model.optimizer.dynamic_scale.numpy())
    again = make_model()
    assert scale != model.optimizer.initial_scale
    # Both batches count, though their gradients overflowed and were not applied.
    assert kmmft.training.Checkpointer(path, again).restore() == 2
    assert float(again.optimizer.dynamic_scale.numpy()) == scale
    for one, other in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


class KillInValidation(keras.callbacks.Callback):
    def on_test_begin(self, logs=None):
        if int(self.model.optimizer.iterations.numpy()) == 8:
            raise Killed


def test_kill_in_the_validation_of_an_epoch(uninterrupted, tmp_path):
    with pytest.raises(Killed):
        fit(tmp_path, CONFIG, callbacks=[KillInValidation()], monitor="val_mae")
    _, history = fit(tmp_path, CONFIG, monitor="val_mae")
    expected = [row["val_mae"] for row in uninterrupted[1]]
    assert [row["val_mae"] for row in history] == expected


def test_lower_is_better_for_an_error_and_nan_is_worst(tmp_path):
    class Rename(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["val_mae"] = logs["val_score"]

    script = Scripted([float("nan"), 0.5, 0.6])
    weights, _ = fit(tmp_path, CONFIG, callbacks=[script, Rename()], monitor="val_mae")
    for one, other in zip(weights, script.weights[1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_two_replicas_resume_too(uninterrupted, two_replicas, tmp_path):
    def replicated(callbacks=()):
        with two_replicas.scope():
            keras.utils.set_random_seed(3)
            inputs = keras.Input((4,))
            x = keras.layers.Dense(8, activation="relu")(inputs)
            model = keras.Model(inputs, keras.layers.Dense(1)(x))
            model.compile(kmmft.training.adamw(1e-2, total_steps=8), "mse")
        with kmmft.training.RunDirectory(tmp_path / name, CONFIG) as run:
            kmmft.training.resumable_fit(
                model,
                examples,
                run=run,
                steps_per_epoch=4,
                epochs=2,
                callbacks=callbacks,
                checkpoint_every_seconds=0.0,
                verbose=0,
            )
        return [v.numpy() for v in model.weights]

    name = "whole"
    whole = replicated()
    name = "killed"
    with pytest.raises(Killed):
        replicated([KillAt(6)])
    for one, other in zip(replicated(), whole, strict=True):
        np.testing.assert_array_equal(one, other)


def test_averages_of_keras_are_an_error(tmp_path):
    model = make_model()
    model.optimizer.use_ema = True
    with (
        kmmft.training.RunDirectory(tmp_path, CONFIG) as run,
        pytest.raises(ValueError, match="StochasticWeightAveraging"),
    ):
        kmmft.training.resumable_fit(
            model, examples, run=run, steps_per_epoch=4, epochs=1
        )
