"""Augmentation by Keras' layers in the model: seeded, resumed, off in evaluation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.training import RecipeConfig, RunDirectory, resumable_fit

IMAGES = np.random.default_rng(0).uniform(0, 255, (8, 8, 8, 3)).astype("float32")
LAYERS = {
    "flip": lambda: keras.layers.RandomFlip(seed=1),
    "brightness": lambda: keras.layers.RandomBrightness(0.5, seed=2),
    "rand_augment": lambda: keras.layers.RandAugment(num_ops=1, seed=3),
}


def make_model(layers):
    class Model(kmmft.training.DistributedTraining, keras.Model):
        pass

    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3), name="image")
    images = inputs
    for layer in layers:
        images = LAYERS[layer]()(images)
    outputs = keras.layers.Dense(1)(keras.layers.Flatten()(images / 255.0))
    model = Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    return model


@pytest.mark.parametrize("layer", LAYERS)
def test_off_in_evaluation_on_in_training(layer):
    operation = LAYERS[layer]()
    np.testing.assert_array_equal(operation(IMAGES, training=False), IMAGES)
    first, second = (operation(IMAGES, training=True).numpy() for _ in range(2))
    assert not np.array_equal(first, second)
    again = LAYERS[layer]()(IMAGES, training=True).numpy()
    np.testing.assert_array_equal(first, again)


def test_resumed_run_draws_what_an_uninterrupted_one_does(tmp_path):
    def data(step):
        row = tf.data.Dataset.from_tensors((IMAGES, np.ones((8, 1), "float32")))
        return row.repeat()

    def train(folder, epochs):
        model = make_model(["flip", "brightness"])
        with RunDirectory(folder, RecipeConfig()) as run:
            resumable_fit(
                model, data, run=run, steps_per_epoch=3, epochs=epochs, verbose=0
            )
        return model.get_weights()

    whole = train(tmp_path / "whole", 2)
    train(tmp_path / "resumed", 1)
    for one, other in zip(whole, train(tmp_path / "resumed", 2), strict=True):
        np.testing.assert_array_equal(one, other)
