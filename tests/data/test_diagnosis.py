"""The slow stage is found, a starving model is told from a sated one."""

import functools
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from kmmft.data import build_dataset, diagnose
from kmmft.data.training_time import step_seconds

STAGES = ["read", "parse", "preprocess", "augment", "batch", "batch_preprocess"]


def busy(tensor, milliseconds):
    """Holds up what reads the tensor."""

    def wait(value):
        time.sleep(milliseconds / 1000)
        return value

    held = tf.numpy_function(wait, [tensor], tensor.dtype)
    return tf.ensure_shape(held, tensor.shape)


def pipeline(directory, **slow):
    """Batches of 4 for a model of one weight, where some stages take a while."""
    return functools.partial(
        build_dataset,
        directory,
        split="train",
        preprocess=lambda record: {"x": busy(tf.ones((1,)), slow.get("preprocess", 0))},
        augment=lambda record, seed: {"x": busy(record["x"], slow.get("augment", 0))},
        batch_preprocess=lambda batch: (
            busy(batch["x"], 4 * slow.get("batch_preprocess", 0)),
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
def test_slow_stage_is_found(toy_directory, slow):
    found = diagnose(pipeline(toy_directory, **{slow: 8}), num_batches=3)
    stages = {stage.name: stage for stage in found.stages}
    assert list(stages) == STAGES
    assert stages[slow] is max(found.stages, key=lambda stage: stage.milliseconds)
    # Other programs may hold it up further.
    assert 8 <= stages[slow].milliseconds < 20
    assert sum(stage.share for stage in found.stages) == pytest.approx(1)
    assert found.batch_size == 4 and found.model_seconds is None
    text = str(found)
    assert f"{slow}, a record" in text and f"`{slow}` costs most" in text


def test_starving_model_is_found_and_left_as_it_was(toy_directory, model):
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    before = [np.array(variable.numpy()) for variable in variables]
    found = diagnose(pipeline(toy_directory, preprocess=10), model, num_batches=6)
    assert found.together_seconds > 2 * found.model_seconds
    assert found.waiting > 0.5 and "it starves" in str(found)
    for value, variable in zip(before, variables, strict=True):
        np.testing.assert_array_equal(value, variable.numpy())


def test_sated_model_is_found(model):
    held = tf.data.Dataset.from_tensors((tf.ones((4, 1)), tf.ones((4, 1))))

    class Slow(keras.Sequential):
        def train_step(self, data):
            result = super().train_step(data)
            with tf.control_dependencies([busy(tf.zeros(()), 40)]):
                return {name: tf.identity(value) for name, value in result.items()}

    slow = Slow([keras.Input((1,)), keras.layers.Dense(1)])
    slow.compile("sgd", "mse")
    found = diagnose(held.repeat(), slow, num_batches=6)
    assert found.stages == [] and found.waiting < 0.1
    assert found.advice == [
        "The model hardly waits for its data: nothing is to be gained here."
    ]
    assert 0.04 <= found.model_seconds < 0.08


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
