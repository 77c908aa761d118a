"""R-Drop's loss and updates, with the masks that were drawn, in NumPy."""

import keras
import numpy as np
import pytest

import kmmft.finetuning as ft
from tests.finetuning import step_option_cases as cases
from tests.models import contrastive_cases

ALPHA = 1.5


def fit(task, loss, y, steps=3):
    """Losses, what dropout let through, weights before and after."""
    seen = cases.Seen()
    model = cases.linear(2, before=[keras.layers.Dropout(0.4), seen])
    before = model.get_weights()
    logged = cases.fit(
        model,
        [ft.RDrop(ALPHA, outputs=task)],
        cases.X,
        y,
        steps=steps,
        loss=loss,
        eager=True,
    )
    return logged, [x.numpy() for x in seen.values[-2 * steps :]], before, model


def test_steps_equal_numpy():
    logged, seen, (w, b), model = fit(
        "single_label", cases.softmax_loss(), cases.CLASSES
    )

    def loss(w, b, first, second):
        one, two = first @ w + b, second @ w + b
        error = cases.cross_entropy(one, cases.CLASSES)
        error += cases.cross_entropy(two, cases.CLASSES)
        return error / 2 + ALPHA * (cases.kl(one, two) + cases.kl(two, one)) / 2

    for step, value in enumerate(logged):
        pair = seen[2 * step : 2 * step + 2]
        assert not np.array_equal(*pair)
        assert value == pytest.approx(loss(w, b, *pair), rel=1e-4)
        gradient_w = cases.numeric_gradient(lambda v, b=b, p=pair: loss(v, b, *p), w)
        gradient_b = cases.numeric_gradient(lambda v, w=w, p=pair: loss(w, v, *p), b)
        w, b = w - cases.RATE * gradient_w, b - cases.RATE * gradient_b
    np.testing.assert_allclose(model.get_weights()[0], w, atol=1e-4)
    np.testing.assert_allclose(model.get_weights()[1], b, atol=1e-4)


def test_regression_is_compared_by_squared_distance():
    y = np.eye(2)[cases.CLASSES]
    logged, (first, second), (w, b), _ = fit("regression", "mse", y, steps=1)
    one, two = first @ w + b, second @ w + b
    error = (((one - y) ** 2).mean() + ((two - y) ** 2).mean()) / 2
    apart = ((one - two) ** 2).sum(1).mean() / 2
    assert logged[0] == pytest.approx(error + ALPHA * apart, rel=1e-5)


@pytest.mark.parametrize("kind", cases.KINDS)
def test_it_pulls_the_answers_together(kind):
    """With a large weight two dropout draws end nearer to each other."""

    def apart(alpha):
        model = cases.KINDS[kind](0.3)
        y = contrastive_cases.GROUPS % 2
        cases.fit(model, [ft.RDrop(alpha)], contrastive_cases.batch(), y, steps=12)
        inputs = contrastive_cases.batch()
        draws = [model(inputs, training=True) for _ in range(8)]
        if kind == "dual_encoder":
            draws = [draw["image"] @ draw["text"].numpy().T for draw in draws]
        return np.std(draws, axis=0).mean()

    assert apart(20.0) < 0.9 * apart(0.0)


def test_contrastive_replicas_see_all_candidates(two_replicas):
    """Where no unit is dropped there is no divergence, however many replicas."""
    losses, weights = cases.fit_kind("dual_encoder", [ft.RDrop(2.0)], dropout_rate=1e-9)
    others_losses, others = cases.fit_kind(
        "dual_encoder", [ft.RDrop(2.0)], dropout_rate=1e-9, strategy=two_replicas
    )
    plain = cases.fit_kind("dual_encoder", [], dropout_rate=1e-9)[1]
    np.testing.assert_allclose(others_losses, losses, rtol=1e-4)
    assert contrastive_cases.largest_difference(weights, others) < 2e-5
    assert contrastive_cases.largest_difference(weights, plain) < 2e-5


def test_errors():
    with pytest.raises(ValueError, match="`alpha` must not be negative"):
        ft.RDrop(-1.0)
    option = ft.RDrop(outputs="single_label")
    with pytest.raises(ValueError, match="R-Drop needs a model with dropout"):
        cases.fit(
            cases.linear(2), [option], cases.X, cases.CLASSES, loss=cases.softmax_loss()
        )
