"""The slow stage is found, a starving model is told from a sated one."""

import functools
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from kmmft.data import build_dataset, diagnose, diagnosis, training_time
from kmmft.data.training_time import step_seconds

STAGES = ["read", "parse", "preprocess", "augment", "batch", "batch_preprocess"]


class Clock:
    """A clock that only what is held up moves, whatever else the machine does."""

    def __init__(self):
        self._now, self._lock = 0.0, threading.Lock()

    def sleep(self, seconds):
        with self._lock:
            self._now += seconds

    def perf_counter(self):
        return self._now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(diagnosis, "time", clock)
    monkeypatch.setattr(training_time, "time", clock)
    return clock


def busy(tensor, milliseconds, clock=time):
    """Holds up what reads the tensor."""

    def wait(value):
        clock.sleep(milliseconds / 1000)
        return value

    held = tf.numpy_function(wait, [tensor], tensor.dtype)
    return tf.ensure_shape(held, tensor.shape)


def pipeline(directory, clock=time, split="train", **slow):
    """Batches of 4 for a model of one weight, where some stages take a while."""

    def held_up(tensor, stage, times=1):
        return busy(tensor, times * slow.get(stage, 0), clock)

    return functools.partial(
        build_dataset,
        directory,
        split=split,
        preprocess=lambda record: {"x": held_up(tf.ones((1,)), "preprocess")},
        augment=lambda record, seed: {"x": held_up(record["x"], "augment")},
        batch_preprocess=lambda batch: (
            held_up(batch["x"], "batch_preprocess", times=4),
            batch["x"],
        ),
        batch_size=4,
        training=True,
    )


@pytest.fixture(scope="module")
def model():
    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(1), keras.layers.Dropout(0.5)]
    )
    model.compile("adam", "mse", metrics=["mae"])
    return model


@pytest.mark.parametrize("slow", ["preprocess", "augment", "batch_preprocess"])
def test_slow_stage_is_found(toy_directory, slow, clock):
    found = diagnose(pipeline(toy_directory, clock, **{slow: 8}), num_batches=3)
    stages = {stage.name: stage for stage in found.stages}
    assert list(stages) == STAGES
    assert stages[slow] is max(found.stages, key=lambda stage: stage.milliseconds)
    assert stages[slow].milliseconds == pytest.approx(8)
    assert sum(stage.share for stage in found.stages) == pytest.approx(1)
    assert found.batch_size == 4 and found.model_seconds is None
    text = str(found)
    assert f"{slow}, a record" in text and f"`{slow}` costs most" in text


def test_starving_model_is_found_and_left_as_it_was(toy_directory, model):
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    before = [np.array(variable.numpy()) for variable in variables]
    # So long that a model's step, which may have to wait for a core, is short.
    slow = pipeline(toy_directory, split="test", preprocess=100)
    found = diagnose(slow, model, num_batches=4)
    assert found.together_seconds > 2 * found.model_seconds
    assert found.waiting > 0.5 and "it starves" in str(found)
    for value, variable in zip(before, variables, strict=True):
        np.testing.assert_array_equal(value, variable.numpy())


def test_sated_model_is_found(clock):
    held = tf.data.Dataset.from_tensors((tf.ones((4, 1)), tf.ones((4, 1))))

    class Slow(keras.Sequential):
        def train_step(self, data):
            result = super().train_step(data)
            with tf.control_dependencies([busy(tf.zeros(()), 40, clock)]):
                return {name: tf.identity(value) for name, value in result.items()}

    slow = Slow([keras.Input((1,)), keras.layers.Dense(1)])
    slow.compile("sgd", "mse")
    found = diagnose(held.repeat(), slow, num_batches=6)
    assert found.stages == [] and found.waiting == pytest.approx(0)
    assert found.advice == [
        "The model hardly waits for its data: nothing is to be gained here."
    ]
    assert found.model_seconds == pytest.approx(0.04)


def test_bad_arguments_are_errors(toy_directory):
    with pytest.raises(ValueError, match=r"must be functools\.partial"):
        diagnose(toy_directory)
    with pytest.raises(ValueError, match=r"must be functools\.partial"):
        diagnose(functools.partial(print))
    data = tf.data.Dataset.from_tensors(tf.ones((4, 1)))
    with pytest.raises(ValueError, match="`num_batches` must"):
        diagnose(data, num_batches=0)
    with pytest.raises(ValueError, match="compiled and built"):
        step_seconds(keras.Sequential([keras.layers.Dense(1)]), data, 1)
