"""Distillation from a frozen copy: Hinton's loss in NumPy, and a teacher apart."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
import kmmft.finetuning as ft
from tests.finetuning import step_option_cases as cases
from tests.models import contrastive_cases


def another_teacher():
    teacher = cases.linear(2)
    start = np.random.default_rng(5)
    teacher.set_weights([start.normal(size=w.shape) for w in teacher.get_weights()])
    return teacher


@pytest.mark.parametrize("replicas", [1, 2])
def test_steps_equal_numpy(replicas, two_replicas):
    strategy = two_replicas if replicas == 2 else None
    teacher = another_teacher()
    model = cases.linear(2, strategy)
    option = ft.SelfDistillation(teacher, 0.6, 3.0, outputs="single_label")
    w, b = (v.astype("float64") for v in model.get_weights())
    targets = cases.X @ teacher.get_weights()[0] + teacher.get_weights()[1]

    def loss(w, b):
        logits = cases.X @ w + b
        error = cases.cross_entropy(logits, cases.CLASSES)
        return error + 0.6 * 3.0**2 * cases.kl(targets / 3.0, logits / 3.0)

    logged = cases.fit(
        model, [option], cases.X, cases.CLASSES, loss=cases.softmax_loss()
    )
    for value in logged:
        assert value == pytest.approx(loss(w, b), rel=1e-4)
        gradients = (
            cases.numeric_gradient(lambda v, b=b: loss(v, b), w),
            cases.numeric_gradient(lambda v, w=w: loss(w, v), b),
        )
        w, b = w - cases.RATE * gradients[0], b - cases.RATE * gradients[1]
    np.testing.assert_allclose(model.get_weights()[0], w, atol=1e-4)
    np.testing.assert_allclose(model.get_weights()[1], b, atol=1e-4)


def test_regression_and_many_labels():
    y = np.eye(2, dtype="float32")[cases.CLASSES]
    teacher = another_teacher()
    model = cases.linear(2)
    logits = cases.X @ model.get_weights()[0] + model.get_weights()[1]
    targets = cases.X @ teacher.get_weights()[0] + teacher.get_weights()[1]
    pairs = [np.stack([x, 0 * x], axis=-1) for x in (targets, logits)]
    expected = {
        # The temperature has no meaning for numbers.
        "regression": ((targets - logits) ** 2).sum(1).mean() / 2,
        "multi_label": 2.0**2 * 2 * cases.kl(pairs[0] / 2.0, pairs[1] / 2.0),
    }
    for outputs, apart in expected.items():
        option = ft.SelfDistillation(teacher, temperature=2.0, outputs=outputs)
        model = cases.linear(2)
        loss = cases.fit(model, [option], cases.X, y, steps=1, loss="mse")[0]
        error = ((logits - y) ** 2).mean()
        assert loss == pytest.approx(error + apart, rel=1e-4)


def test_similarities_of_a_dual_encoder(two_replicas):
    teacher, options = cases.dual_encoder(), []
    teacher.set_weights([w * 1.2 + 0.05 for w in teacher.get_weights()])

    def distilling(model):
        options[:] = [ft.SelfDistillation(teacher, 0.6, 2.0)]
        return options

    losses, weights = cases.fit_kind("dual_encoder", distilling)
    other_losses, others = cases.fit_kind(
        "dual_encoder", distilling, strategy=two_replicas
    )
    np.testing.assert_allclose(other_losses, losses, rtol=1e-4)
    assert contrastive_cases.largest_difference(weights, others) < 2e-5
    plain = cases.fit_kind("dual_encoder", [], steps=1)[0][0]
    rows = []
    for model in (teacher, cases.dual_encoder()):
        vectors = model(contrastive_cases.batch(), training=False)
        cosines = vectors["image"].numpy() @ vectors["text"].numpy().T
        logits = float(model.logit_scale) * cosines / 2.0
        rows.append([logits, logits.T])
    apart = np.mean([cases.kl(*pair) for pair in zip(*rows, strict=True)])
    assert apart > 1e-3
    assert losses[0] == pytest.approx(plain + 0.6 * 2.0**2 * apart, rel=1e-4)


@pytest.mark.parametrize("kind", cases.KINDS)
def test_starting_copy_stays_and_is_no_part_of_the_model(kind, tmp_path):
    model = cases.KINDS[kind](0.3)
    inputs = contrastive_cases.batch()
    copy = ft.starting_copy(model)
    before = tf.nest.flatten(copy(inputs))
    for one, other in zip(before, tf.nest.flatten(model(inputs)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    count = len(model.variables)
    option = ft.SelfDistillation(copy, weight=0.5)
    cases.fit(model, [option], inputs, contrastive_cases.GROUPS % 2)
    after = tf.nest.flatten(copy(inputs))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not copy.trainable_variables
    assert len(model.variables) == count
    model.save_weights(tmp_path / "model.weights.h5")
    again = cases.KINDS[kind](0.3)
    again.load_weights(tmp_path / "model.weights.h5")


def test_teacher_keeps_the_student_near():
    def moved(weight):
        model = cases.classifier()
        copy = ft.starting_copy(model)
        inputs = contrastive_cases.batch()
        option = ft.SelfDistillation(copy, weight)
        cases.fit(model, [option], inputs, contrastive_cases.GROUPS % 2, steps=8)
        answers = (copy(inputs).numpy(), model(inputs).numpy())
        return cases.kl(*answers)

    assert moved(10.0) < 0.3 * moved(0.0)


def test_errors():
    model = cases.linear(2)
    with pytest.raises(ValueError, match="cannot be its own teacher"):
        option = ft.SelfDistillation(model, outputs="single_label")
        cases.fit(model, [option], cases.X, cases.CLASSES, loss=cases.softmax_loss())
    option = ft.SelfDistillation(another_teacher(), outputs="single_label")
    with pytest.raises(ValueError, match="would not see the mixed texts"):
        cases.fit(
            model,
            [option, ft.Mixup()],
            cases.X,
            cases.CLASSES,
            loss=cases.softmax_loss(),
        )
    with pytest.raises(ValueError, match="`temperature` must be positive"):
        ft.SelfDistillation(model, temperature=0.0)
    with pytest.raises(NotImplementedError, match="weights are not in it"):
        option.get_config()


class WithExtraWeight(kmmft.training.DistributedTraining, keras.Model):
    """A model with a weight that its config does not tell of."""


def test_a_config_that_makes_other_weights_is_refused():
    inputs = keras.Input((3,))
    model = WithExtraWeight(inputs, keras.layers.Dense(1)(inputs))
    model.extra = keras.layers.Dense(2)
    model.extra.build((None, 3))
    with pytest.raises(ValueError, match="config must make the same weights"):
        ft.starting_copy(model)
