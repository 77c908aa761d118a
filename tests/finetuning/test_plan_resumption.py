"""A killed and resumed training under a plan is the uninterrupted one, bit for bit."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.finetuning import Plan, Rule
from tests.finetuning.plan_cases import CountedModel, values
from tests.training.killed_runs import KillAt, Killed, examples


def resumable(folder, strategy, seed=3, callbacks=()):
    """An epoch is 4 steps; weights begin in epoch 1 and after 6 steps."""
    with strategy.scope():
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((4,))
        x = keras.layers.Dense(6, name="lower")(inputs)
        x = keras.layers.BatchNormalization(name="norm")(x)
        x = keras.layers.Dropout(0.5, name="drop")(x)
        x = keras.layers.Dense(3, name="upper")(x)
        model = CountedModel(inputs, keras.layers.Dense(1, name="head")(x))
        rules = [
            Rule("lower/*", train_from_step=6, l2_sp=0.1),
            Rule("upper/*", train_from_epoch=1, l2_sp=0.1, l2_sp_decoupled=True),
            Rule("*", l2=0.01),
        ]
        Plan(rules).apply(model)
        model.compile(kmmft.training.adamw(1e-2, total_steps=12), "mse")
    config = kmmft.training.RecipeConfig()
    with kmmft.training.RunDirectory(folder, config) as run:
        kmmft.training.resumable_fit(
            model,
            examples,
            run=run,
            steps_per_epoch=4,
            epochs=3,
            callbacks=callbacks,
            checkpoint_every_seconds=0.0,
            verbose=0,
        )
    anchors = [anchor.numpy() for anchor in model.finetuning.variables]
    starts = model.optimizer.start_steps.numpy().tolist()
    return list(values(model).values()), anchors, starts


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return resumable(folder, tf.distribute.get_strategy())


# Before both beginnings, at each of them, and after both.
@pytest.mark.parametrize("step", [2, 4, 6, 7])
def test_killed_and_resumed_is_bitwise_uninterrupted(step, uninterrupted, tmp_path):
    one = tf.distribute.get_strategy()
    with pytest.raises(Killed):
        resumable(tmp_path, one, callbacks=[KillAt(step)])
    # Another seed: nothing, and no anchor, comes from what the model is built with.
    weights, anchors, starts = resumable(tmp_path, one, seed=4)
    for found, expected in zip(weights, uninterrupted[0], strict=True):
        np.testing.assert_array_equal(found, expected)
    for found, expected in zip(anchors, uninterrupted[1], strict=True):
        np.testing.assert_array_equal(found, expected)
    assert starts == uninterrupted[2]
    assert sorted(set(starts)) == [-1, 4, 6]


def test_killed_and_resumed_on_two_replicas(two_replicas, tmp_path):
    whole = resumable(tmp_path / "whole", two_replicas)
    with pytest.raises(Killed):
        resumable(tmp_path / "part", two_replicas, callbacks=[KillAt(7)])
    part = resumable(tmp_path / "part", two_replicas, seed=4)
    for found, expected in zip(part[0], whole[0], strict=True):
        np.testing.assert_array_equal(found, expected)
    assert part[2] == whole[2]
