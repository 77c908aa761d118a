"""SMART and VAT: what NumPy finds for a linear classifier, and what they are for."""

import keras
import numpy as np
import pytest

import kmmft.finetuning as ft
from tests.finetuning import step_option_cases as cases
from tests.models import contrastive_cases


def softmax(logits):
    return np.exp(cases.log_softmax(logits))


def smart_climb(w, b, delta):
    """The gradient of KL(p || q) + KL(q || p) for q's logits, by hand."""
    clean, moved = cases.X @ w + b, (cases.X + delta) @ w + b
    p, q = softmax(clean), softmax(moved)
    ratio = np.log(q / p)
    by_logits = q - p + q * (ratio - (q * ratio).sum(1, keepdims=True))
    return np.clip(delta + 0.2 * np.sign(by_logits @ w.T), -0.3, 0.3)


def smart_loss(w, b, delta):
    clean, moved = cases.X @ w + b, (cases.X + delta) @ w + b
    return cases.cross_entropy(clean, cases.CLASSES) + 0.8 * (
        cases.kl(clean, moved) + cases.kl(moved, clean)
    )


def vat_climb(w, b, delta, size):
    clean, moved = cases.X @ w + b, (cases.X + delta) @ w + b
    gradient = (softmax(moved) - softmax(clean)) @ w.T
    return size * gradient / np.linalg.norm(gradient, axis=1, keepdims=True)


def descend(step_of, losses, option, steps=3):
    """Trains with the option, and NumPy with the option's own random starts."""
    model, spy = cases.linear(2), cases.Spy()
    w, b = (v.astype("float64") for v in model.get_weights())
    logged = cases.fit(
        model,
        [spy, option],
        cases.X,
        cases.CLASSES,
        steps=steps,
        loss=cases.softmax_loss(),
        eager=True,
    )
    seen = [batch[0].numpy() - cases.X for batch in spy.batches]
    each = len(seen) // steps
    for number in range(steps):
        _, start, *others = seen[number * each : (number + 1) * each]
        deltas = step_of(w, b, start)
        np.testing.assert_allclose(others, deltas, atol=2e-4)
        function = losses(w, b, deltas[-1])
        assert logged[number] == pytest.approx(function(w, b), abs=1e-4)
        gradient_w = cases.numeric_gradient(lambda v, f=function, b=b: f(v, b), w)
        gradient_b = cases.numeric_gradient(lambda v, f=function, w=w: f(w, v), b)
        w, b = w - cases.RATE * gradient_w, b - cases.RATE * gradient_b
    np.testing.assert_allclose(model.get_weights()[0], w, atol=2e-4)
    np.testing.assert_allclose(model.get_weights()[1], b, atol=2e-4)
    return seen


def test_smart_equals_numpy():
    def step_of(w, b, start):
        first = smart_climb(w, b, start)
        return [first, smart_climb(w, b, first)]

    def losses(w, b, delta):
        return lambda w, b: smart_loss(w, b, delta)

    option = ft.SMART(
        0.8, 0.3, 0.2, steps=2, noise=0.1, layers="x", outputs="single_label"
    )
    seen = descend(step_of, losses, option)
    assert np.abs(seen[1]).max() > 0.02
    assert not np.allclose(seen[1], seen[5])


def test_vat_equals_numpy():
    """The clean answers are held fixed: no gradient passes through them."""

    def step_of(w, b, start):
        np.testing.assert_allclose(np.linalg.norm(start, axis=1), 0.1, rtol=1e-5)
        first = vat_climb(w, b, start, 0.1)
        return [first, vat_climb(w, b, first, 0.7)]

    def losses(w0, b0, delta):
        fixed = cases.X @ w0 + b0

        def loss(w, b):
            clean, moved = cases.X @ w + b, (cases.X + delta) @ w + b
            error = cases.cross_entropy(clean, cases.CLASSES)
            return error + 0.8 * cases.kl(fixed, moved)

        return loss

    option = ft.VAT(0.8, 0.7, xi=0.1, steps=2, layers="x", outputs="single_label")
    descend(step_of, losses, option)


@pytest.mark.parametrize("task", ["regression", "multi_label"])
def test_smart_of_numbers_and_of_many_labels(task):
    model, spy = cases.linear(2), cases.Spy()
    y = np.eye(2)[cases.CLASSES]
    loss = (
        "mse"
        if task == "regression"
        else keras.losses.BinaryCrossentropy(from_logits=True)
    )
    w, b = model.get_weights()
    x = cases.X
    plain = cases.fit(cases.linear(2), [], x, y, steps=1, loss=loss, eager=True)[0]
    option = ft.SMART(1.0, 0.3, 0.3, layers="x", outputs=task)
    logged = cases.fit(
        model, [spy, option], cases.X, y, steps=1, loss=loss, eager=True
    )[0]
    clean, moved = cases.X @ w + b, spy.batches[-1][0].numpy() @ w + b
    if task == "regression":
        apart = ((clean - moved) ** 2).sum(1).mean()
    else:
        # sigmoid(x) = softmax of (x, 0), a label at a time.
        pairs = [np.stack([x, 0 * x], axis=-1) for x in (clean, moved)]
        apart = 2 * (cases.kl(*pairs) + cases.kl(*pairs[::-1]))
    assert logged == pytest.approx(plain + apart, rel=1e-4)
    assert apart > 1e-2


NEAR = {cases.TEXT: 0.3, "image": 20.0}


@pytest.mark.parametrize("kind", cases.KINDS)
def test_replicas_equal_one_device(kind, two_replicas, monkeypatch):
    """Of the same noise, which otherwise is each replica's own."""
    monkeypatch.setattr(
        "kmmft.finetuning.virtual_adversarial._normal",
        lambda forward, number, mask: 0.5 * mask,
    )
    option = ft.SMART(step_size=0.3, layers=NEAR, noise=0.1)
    losses, weights = cases.fit_kind(kind, [option])
    other_losses, others = cases.fit_kind(kind, [option], strategy=two_replicas)
    np.testing.assert_allclose(other_losses, losses, rtol=1e-4)
    assert contrastive_cases.largest_difference(weights, others) < 5e-5
    plain = cases.fit_kind(kind, [], steps=1, eager=True)[0][0]
    assert losses[0] > plain + 1e-4


def test_dual_encoders_are_compared_by_their_similarities():
    model, spy = cases.dual_encoder(), cases.Spy()
    before = ft.starting_copy(model)
    batch = contrastive_cases.batch()
    groups = contrastive_cases.GROUPS
    option = ft.VAT(0.7, epsilon=30.0, layers="image")
    scale = float(model.logit_scale)
    loss = cases.fit(model, [spy, option], batch, groups, steps=1, eager=True)[0]
    rows = []
    for x, *_ in (spy.batches[0], spy.batches[-1]):
        vectors = before({key: x[key] for key in before.input}, training=False)
        cosines = vectors["image"].numpy() @ vectors["text"].numpy().T
        rows.append([scale * cosines, scale * cosines.T])
    apart = np.mean([cases.kl(*pair) for pair in zip(*rows, strict=True)])
    plain = cases.fit(cases.dual_encoder(), [], batch, groups, steps=1, eager=True)[0]
    assert apart > 1e-3
    assert loss == pytest.approx(plain + 0.7 * apart, rel=1e-4)


def test_models_that_do_not_say_what_they_are():
    with pytest.raises(ValueError, match="Set the option's `outputs`"):
        cases.fit(
            cases.linear(), [ft.SMART(layers="x")], cases.X, cases.X[:, :1], loss="mse"
        )
    with pytest.raises(ValueError, match="dual encoders only"):
        ft.output_kind(cases.linear(), "similarity")


@pytest.mark.parametrize(
    "make", [lambda: ft.SMART(-1.0), lambda: ft.SMART(steps=0), lambda: ft.VAT(xi=-1)]
)
def test_bad_arguments(make):
    with pytest.raises(ValueError, match="`steps` must be positive and no number"):
        make()
