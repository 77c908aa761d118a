"""Several tasks are evaluated, saved and resumed as one model, and each alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from tests.models import multi_task_cases as cases
from tests.models.contrastive_cases import largest_difference

TWO = ("tags", "age")


@pytest.fixture(scope="module")
def trained():
    return cases.train(names=TWO, steps=2, loss_weights=kmmft.models.GradNorm())[0]


def datasets(*names):
    return {
        name: tf.data.Dataset.from_tensor_slices(part).batch(2)
        for name, part in cases.batch(*names).items()
    }


def outputs(model):
    return model({name: part[0] for name, part in cases.batch(*TWO).items()})


def test_each_task_is_evaluated_on_its_own_data(trained):
    logs = trained.evaluate(datasets(*TWO), verbose=0)
    assert set(logs) == {"loss", "tags_loss", "tags_accuracy", "age_loss", "age_mae"}
    inputs, labels = cases.batch()["tags"]
    found = trained.tasks["tags"](inputs).numpy().argmax(-1)
    assert logs["tags_accuracy"] == pytest.approx((found == labels).mean())
    penalty = float(cases.penalty_of(trained)[1])
    losses = [
        float(cases.supervised_loss(trained.tasks[name], cases.batch()[name]))
        for name in TWO
    ]
    assert logs["tags_loss"] == pytest.approx(losses[0] + penalty, rel=1e-5)
    total = np.dot(trained.loss_weights.factors(), losses) + penalty
    assert logs["loss"] == pytest.approx(total, rel=1e-5)
    alone = trained.tasks["age"].evaluate(
        datasets("age")["age"], verbose=0, return_dict=True
    )
    assert alone["loss"] == pytest.approx(logs["age_loss"], rel=1e-5)
    mixed = tf.data.Dataset.from_tensors(cases.batch(*TWO))
    together = trained.evaluate(mixed, verbose=0, return_dict=True)
    for name, value in together.items():
        assert value == pytest.approx(logs[name], rel=1e-5), name


def test_some_tasks_may_be_evaluated_alone(trained):
    logs = trained.evaluate(datasets("age"), verbose=0)
    assert set(logs) == {"loss", "age_loss", "age_mae"}
    with pytest.raises(ValueError, match=r"Received: \['ages'\]"):
        trained.evaluate({"ages": datasets("age")["age"]}, verbose=0)


def test_validation_is_in_the_history(two_replicas):
    with two_replicas.scope():
        model = cases.make_model(*TWO)
        model.compile(kmmft.training.SGD(0.05))
    seen = []

    class Reader(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(dict(logs))

    history = model.fit(
        tf.data.Dataset.from_tensors(cases.batch(*TWO)).repeat(),
        steps_per_epoch=1,
        epochs=1,
        validation_data=datasets(*TWO),
        callbacks=[Reader()],
        verbose=0,
    ).history
    for name, value in model.evaluate(datasets(*TWO), verbose=0).items():
        assert history[f"val_{name}"][-1] == pytest.approx(value, rel=1e-5)
        assert seen[-1][f"val_{name}"] == history[f"val_{name}"][-1]


def test_save_and_load_keep_the_sharing(trained, tmp_path):
    trained.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert len(again.weights) == len(trained.weights)
    image = again.tasks["tags"].encoders["image"]
    assert image is again.tasks["age"].encoders["image"]
    for name, value in outputs(trained).items():
        np.testing.assert_array_equal(outputs(again)[name], value)
    optimizers = zip(
        again.optimizer.variables, trained.optimizer.variables, strict=True
    )
    for one, other in optimizers:
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    copy = kmmft.models.MultiTask.from_config(trained.get_config())
    assert len(copy.weights) == len(trained.weights)
    assert list(copy.tasks) == list(TWO) and copy.loss_weights.alpha == 1.5


def test_a_loaded_model_trains_on(tmp_path):
    options = {"names": TWO, "steps": 2}
    model, _, _ = cases.train(**options, loss_weights=kmmft.models.GradNorm())
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    data = tf.data.Dataset.from_tensors(cases.batch(*TWO)).repeat(2)
    histories = [x.fit(data, verbose=0).history for x in (model, again)]
    for name, values in histories[0].items():
        assert values == pytest.approx(histories[1][name]), name
    weights = [[v.numpy() for v in x.weights] for x in (model, again)]
    assert largest_difference(*weights) < 1e-6


def test_a_task_is_saved_alone(trained, tmp_path):
    task = trained.tasks["tags"]
    task.save(tmp_path / "tags.keras")
    again = keras.saving.load_model(tmp_path / "tags.keras", compile=False)
    inputs = cases.batch()["tags"][0]
    np.testing.assert_array_equal(again(inputs), task(inputs))
    trained.save_weights(tmp_path / "all.weights.h5")
    fresh = cases.make_model(*TWO, loss_weights=kmmft.models.GradNorm())
    fresh.load_weights(tmp_path / "all.weights.h5")
    for one, other in zip(fresh.weights, trained.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.mark.parametrize("way", ["grad_norm", "in_turns"])
def test_a_killed_run_goes_on_bit_for_bit(way, tmp_path):
    options = {
        "grad_norm": lambda: {
            "loss_weights": kmmft.models.GradNorm(),
            "project_conflicts": True,
        },
        "in_turns": lambda: {"in_turns": True},
    }[way]

    def data(start_step):
        examples = {
            name: tf.data.Dataset.from_tensor_slices(part)
            for name, part in cases.batch(*TWO).items()
        }
        return kmmft.data.mix_tasks(examples, 4, start_step=start_step)

    def run(steps, start_step=0, folder=None):
        model = cases.make_model(*TWO, dropout_rate=0.5, **options())
        model.compile(kmmft.training.AdamW(0.01))
        callbacks = []
        if folder:
            checkpointer = kmmft.training.Checkpointer(folder, model)
            assert checkpointer.restore() == start_step
            callbacks = [checkpointer]
        model.fit(
            data(start_step), steps_per_epoch=steps, callbacks=callbacks, verbose=0
        )
        return [v.numpy() for v in model.weights]

    expected = run(3)
    run(2, folder=tmp_path)
    resumed = run(1, start_step=2, folder=tmp_path)
    for one, other in zip(expected, resumed, strict=True):
        np.testing.assert_array_equal(one, other)
