"""FixMatch's loss and updates against NumPy; its batches; replicas."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
import kmmft.finetuning as ft
from tests.finetuning import step_option_cases as cases

RANDOM = np.random.default_rng(2)
VIEWS = {
    f"{kind}_x": RANDOM.normal(size=(4, 3, 3)).astype("float32")
    for kind in ("weak", "strong")
}
X = {"x": cases.X, **VIEWS}
SURE = 0.8


def model_of_dict(strategy=None, regularizer=None):
    """x W + b of a dict, with the same first weights every time."""
    with (strategy or tf.distribute.get_strategy()).scope():
        inputs = {"x": keras.Input((3,), name="x")}
        dense = keras.layers.Dense(2, kernel_regularizer=regularizer)
        model = cases.Model(inputs, dense(inputs["x"]))
    start = np.random.default_rng(1)
    model.set_weights([start.normal(size=w.shape) for w in model.get_weights()])
    return model


def fit(model, weight=1.5, x=X, **kwargs):
    option = ft.FixMatch(SURE, weight, outputs="single_label")
    return cases.fit(
        model, [option], x, cases.CLASSES, loss=cases.softmax_loss(), **kwargs
    )


def test_steps_equal_numpy():
    """Over three steps, with some sure and some unsure answers in each."""
    model = model_of_dict(regularizer=keras.regularizers.L2(0.1))
    w, b = (v.astype("float64") for v in model.get_weights())
    logged = fit(model)
    weak, strong = (VIEWS[f"{kind}_x"].reshape(12, 3) for kind in ("weak", "strong"))
    for value in logged:
        answers = np.exp(cases.log_softmax(weak @ w + b))
        sure, classes = answers.max(1) >= SURE, answers.argmax(1)
        assert 0 < sure.sum() < 12

        def loss(w, b, sure=sure, classes=classes):
            logs = cases.log_softmax(strong @ w + b)[np.arange(12), classes]
            labelled = cases.cross_entropy(cases.X @ w + b, cases.CLASSES)
            return labelled - 1.5 * (sure * logs).sum() / 12 + 0.1 * (w**2).sum()

        assert value == pytest.approx(loss(w, b), rel=1e-5)
        gradient_w = cases.numeric_gradient(lambda v, b=b, f=loss: f(v, b), w)
        gradient_b = cases.numeric_gradient(lambda v, w=w, f=loss: f(w, v), b)
        w, b = w - cases.RATE * gradient_w, b - cases.RATE * gradient_b
    np.testing.assert_allclose(model.get_weights()[0], w, atol=1e-5)
    np.testing.assert_allclose(model.get_weights()[1], b, atol=1e-5)


def test_replicas_and_micro_batches_equal_one_device(two_replicas):
    alone, replicas, parts = (
        model_of_dict(),
        model_of_dict(two_replicas),
        model_of_dict(),
    )
    parts.micro_batch_size = 2
    losses = fit(alone, steps=2)
    np.testing.assert_allclose(fit(replicas, steps=2), losses, rtol=1e-5)
    np.testing.assert_allclose(fit(parts, steps=2), losses, rtol=1e-5)
    for other in (replicas, parts):
        for weight, expected in zip(
            other.get_weights(), alone.get_weights(), strict=True
        ):
            np.testing.assert_allclose(weight, expected, atol=1e-5)


def test_metrics_and_weights_are_of_the_labelled_examples():
    model = model_of_dict()
    w, b = model.get_weights()
    model.step_options = [ft.FixMatch(SURE, 0.0, outputs="single_label")]
    model.compile("sgd", cases.softmax_loss(), metrics=["accuracy"], run_eagerly=True)
    weights = np.array([0.0, 1.0, 2.0, 0.5], "float32")
    loss, accuracy = model.train_on_batch(X, cases.CLASSES, sample_weight=weights)
    logits = cases.X @ w + b
    rows = cases.log_softmax(logits)[np.arange(4), cases.CLASSES]
    assert float(loss) == pytest.approx(-(weights * rows).mean(), rel=1e-5)
    assert float(accuracy) == (logits.argmax(1) == cases.CLASSES).mean()


def test_batches_hold_two_views_of_the_same_examples():
    """Endless, each example as often as any other, whatever the views are."""
    numbers = np.arange(1, 6, dtype="float32")
    images = numbers[:, None, None, None] * np.ones((5, 2, 2, 3), "float32")
    inputs = {"image": images, "number": numbers}
    many = kmmft.data.Examples(inputs, np.full(5, -1))
    few = many.choose(np.array([0, 1]))
    batches = kmmft.data.add_unlabelled(
        few.training_batches(2, seed=0),
        many,
        ratio=2,
        weak=None,
        strong=lambda image, seed: -image,
        batch_size=2,
        seed=3,
    )
    seen = []
    for x, y in batches.take(5).as_numpy_iterator():
        assert y.shape == (2,)
        assert x["weak_image"].shape == (2, 2, 2, 2, 3)
        np.testing.assert_array_equal(x["strong_image"], -x["weak_image"])
        np.testing.assert_array_equal(x["weak_image"][..., 0, 0, 0], x["weak_number"])
        np.testing.assert_array_equal(x["strong_number"], x["weak_number"])
        seen += x["weak_number"].ravel().tolist()
    assert sorted(seen) == sorted(numbers.tolist() * 4)
    with pytest.raises(ValueError, match="`ratio` must be at least 1"):
        kmmft.data.add_unlabelled(
            batches, many, ratio=0, weak=None, strong=None, batch_size=2, seed=0
        )


def test_errors():
    for arguments in ({"threshold": 1.5}, {"weight": -1.0}):
        with pytest.raises(ValueError, match="`threshold` must be from 0 to 1"):
            ft.FixMatch(**arguments)
    with pytest.raises(ValueError, match=r"batch without \['weak_x', 'strong_x'\]"):
        fit(model_of_dict(), x={"x": cases.X}, eager=True, steps=1)
    with pytest.raises(ValueError, match="a model that chooses one class"):
        cases.fit(
            model_of_dict(), [ft.FixMatch(outputs="regression")], X, cases.CLASSES
        )
    with pytest.raises(ValueError, match="Put it after"):
        cases.fit(
            model_of_dict(),
            [ft.FixMatch(outputs="single_label"), ft.Mixup()],
            X,
            cases.CLASSES,
            loss=cases.softmax_loss(),
            eager=True,
            steps=1,
        )
    summed = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="sum"
    )
    with pytest.raises(ValueError, match="reduction='sum'"):
        cases.fit(
            model_of_dict(),
            [ft.FixMatch(outputs="single_label")],
            X,
            cases.CLASSES,
            loss=summed,
            eager=True,
            steps=1,
        )
