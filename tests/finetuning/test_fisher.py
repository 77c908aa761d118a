"""Fisher information against its closed forms in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.finetuning import estimate_fisher
from tests.models.test_fusion_classifier import batch_of, make_model

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(12, 3)).astype("float32")
KERNEL = RANDOM.normal(size=(3, 4)).astype("float32")
LOSSES = keras.losses


def linear(loss, activation=None, num_outputs=4):
    inputs = keras.Input((3,))
    outputs = keras.layers.Dense(
        num_outputs, activation=activation, use_bias=False, name="out"
    )(inputs)
    model = keras.Model(inputs, outputs)
    model.compile(loss=loss)
    model.set_weights([KERNEL[:, :num_outputs]])
    return model


def batched(*arrays, size=5):
    return tf.data.Dataset.from_tensor_slices(arrays).batch(size)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def squares(residuals):
    """Mean over examples of (x residual^T)^2, the linear model's squared gradient."""
    return np.mean((X[:, :, None] * residuals[:, None, :]) ** 2, axis=0)


@pytest.mark.parametrize(
    ("loss", "activation"),
    [
        (LOSSES.SparseCategoricalCrossentropy(from_logits=True), None),
        ("sparse_categorical_crossentropy", "softmax"),
    ],
)
def test_empirical_of_softmax_regression(loss, activation):
    y = RANDOM.integers(0, 4, 12)
    found = estimate_fisher(linear(loss, activation), batched(X, y), empirical=True)
    expected = squares(np.eye(4)[y] - softmax(X @ KERNEL))
    assert list(found) == ["out/kernel"]
    assert found["out/kernel"].dtype == np.float32
    np.testing.assert_allclose(found["out/kernel"], expected, rtol=1e-4)


def test_empirical_of_logistic_regression():
    y = RANDOM.integers(0, 2, (12, 1))
    model = linear(LOSSES.BinaryCrossentropy(from_logits=True), num_outputs=1)
    found = estimate_fisher(model, batched(X, y), empirical=True)
    probability = 1 / (1 + np.exp(-X @ KERNEL[:, :1]))
    expected = squares(y - probability)
    np.testing.assert_allclose(found["out/kernel"], expected, rtol=1e-4)


def test_the_loss_is_a_sum_over_labels_and_has_no_smoothing():
    # Keras' binary cross-entropy is a mean over the labels, no log-likelihood.
    y = RANDOM.integers(0, 2, (12, 4)).astype("float32")
    loss = LOSSES.BinaryCrossentropy(from_logits=True, label_smoothing=0.2)
    found = estimate_fisher(linear(loss), batched(X, y), empirical=True)
    expected = squares(y - 1 / (1 + np.exp(-X @ KERNEL)))
    np.testing.assert_allclose(found["out/kernel"], expected, rtol=1e-4)


# E over y of (onehot(y) - p)^2 and of (y - p)^2 is p (1 - p); of a unit normal it is 1.
EXPECTED_SQUARES = {
    "single_label": lambda logits: softmax(logits) * (1 - softmax(logits)),
    "multi_label": lambda logits: (
        (1 / (1 + np.exp(-logits))) * (1 / (1 + np.exp(logits)))
    ),
    "regression": np.ones_like,
}


@pytest.mark.parametrize("task", EXPECTED_SQUARES)
def test_drawn_labels_give_the_expectation(task):
    repeats = 400
    model = linear(None)
    found = estimate_fisher(
        model, batched(np.repeat(X, repeats, 0), size=1600), task=task
    )
    residuals = np.sqrt(EXPECTED_SQUARES[task](X @ KERNEL))
    # 4,800 draws: two to three percent of noise.
    np.testing.assert_allclose(found["out/kernel"], squares(residuals), rtol=0.1)


def test_probabilities_give_what_logits_give():
    kwargs = {"task": "single_label", "seed": 3}
    probabilities = estimate_fisher(
        linear("categorical_crossentropy", "softmax"), batched(X), **kwargs
    )
    logits = estimate_fisher(linear(None), batched(X), **kwargs)
    np.testing.assert_allclose(
        probabilities["out/kernel"], logits["out/kernel"], rtol=1e-3
    )
    other = estimate_fisher(linear(None), batched(X), task="single_label", seed=4)
    assert not np.allclose(other["out/kernel"], logits["out/kernel"], rtol=1e-3)


def test_it_does_not_depend_on_the_batches():
    y = RANDOM.normal(size=(12, 4))
    model = linear("mse")
    whole = estimate_fisher(model, batched(X, y, size=12), empirical=True)
    parts = estimate_fisher(model, batched(X, y, size=5), empirical=True)
    first = estimate_fisher(model, batched(X, y, size=4), batches=1, empirical=True)
    np.testing.assert_allclose(parts["out/kernel"], whole["out/kernel"], rtol=1e-5)
    np.testing.assert_allclose(whole["out/kernel"], squares(y - X @ KERNEL), rtol=1e-4)
    alone = np.mean(
        (X[:4, :, None] * (y[:4] - X[:4] @ KERNEL)[:, None, :]) ** 2, axis=0
    )
    np.testing.assert_allclose(first["out/kernel"], alone, rtol=1e-4)


def test_normalised_is_one_in_the_mean():
    model = linear("mse")
    y = np.zeros((12, 4))
    plain = estimate_fisher(model, batched(X, y), empirical=True)["out/kernel"]
    scaled = estimate_fisher(model, batched(X, y), empirical=True, normalize=True)
    np.testing.assert_allclose(scaled["out/kernel"].mean(), 1.0, rtol=1e-5)
    np.testing.assert_allclose(scaled["out/kernel"], plain / plain.mean(), rtol=1e-5)


def test_the_likelihood_may_be_given():
    y = RANDOM.normal(size=(12, 4)).astype("float32")

    def laplace(y, outputs):
        return -tf.reduce_sum(tf.abs(y - outputs), axis=-1)

    found = estimate_fisher(
        linear(None), batched(X, y), empirical=True, log_likelihood=laplace
    )
    np.testing.assert_allclose(
        found["out/kernel"], np.repeat(np.mean(X**2, 0)[:, None], 4, 1), rtol=1e-4
    )


def test_a_multimodal_classifier():
    model = make_model(dropout=0.1)
    model.compile("sgd")
    model.encoders["image"].trainable = False
    batch, y = batch_of(model), np.array([0, 1, 2, 1])
    found = estimate_fisher(model, [(batch, y)], empirical=True)
    paths = kmmft.finetuning.named_variables(model)
    assert set(found) == set(paths)  # frozen ones too
    for path, value in found.items():
        assert value.shape == tuple(paths[path].shape)
        assert value.min() >= 0
    features = keras.Model(model.inputs, model.get_layer("logits").input)(batch)
    residuals = np.eye(3)[y] - softmax(model(batch).numpy())
    np.testing.assert_allclose(
        found["logits/kernel"],
        np.mean((features.numpy()[:, :, None] * residuals[:, None]) ** 2, axis=0),
        rtol=1e-3,
        atol=1e-9,
    )
    assert max(v.max() for k, v in found.items() if k.startswith("image")) > 0
    drawn = estimate_fisher(model, [batch])
    assert drawn["logits/bias"].max() > 0


def test_it_holds_what_mattered():
    """EWC on a linear model: the pull keeps the directions that the old task needs."""
    fisher = estimate_fisher(linear("mse"), [(X, X @ KERNEL + 1)], empirical=True)
    model = linear("mse")
    kernel = model.get_layer("out").kernel
    anchor = kmmft.finetuning.anchor_of(kernel)
    kernel.regularizer = kmmft.finetuning.L2SP(0.5, anchor, fisher["out/kernel"])
    kernel.assign_add(np.ones((3, 4)))
    np.testing.assert_allclose(
        model.losses[0], 0.5 * fisher["out/kernel"].sum(), rtol=1e-5
    )


def test_bad_inputs():
    model = linear("mse")
    with pytest.raises(ValueError, match="needs a likelihood of each example"):
        estimate_fisher(linear("mae"), batched(X))
    with pytest.raises(ValueError, match="needs a likelihood of each example"):
        estimate_fisher(model, batched(X), task="contrastive")
    with pytest.raises(ValueError, match="`empirical` needs labels"):
        estimate_fisher(model, batched(X), empirical=True)
    with pytest.raises(ValueError, match="cannot be drawn"):
        estimate_fisher(model, batched(X), log_likelihood=lambda y, outputs: outputs)
    with pytest.raises(ValueError, match="needs examples"):
        estimate_fisher(model, [])
    inputs = keras.Input((3,))
    two = keras.Model(inputs, {"a": inputs, "b": keras.layers.Dense(1)(inputs)})
    with pytest.raises(ValueError, match="Labels belong to one output"):
        estimate_fisher(two, batched(X), task="regression")
