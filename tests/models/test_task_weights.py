"""Learned weights of losses, and projected gradients, follow their papers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from tests.models import multi_task_cases as cases
from tests.models.contrastive_cases import largest_difference

TWO = ("tags", "age")


def test_uncertainty_equals_kendall():
    """Eq. 10 (cross-entropy) and eq. 7 (a squared error), with s = log(sigma^2)."""
    s, velocity, terms = np.zeros(2), np.zeros(2), []

    def factors():
        terms.append(s.sum() / 2)
        return np.array([1.0, 0.5]) * np.exp(-s)

    def observe(losses, _):
        gradient = -np.array([1.0, 0.5]) * np.exp(-s) * losses + 0.5
        velocity[:] = 0.9 * velocity - 0.05 * gradient
        s[:] += velocity

    losses, weights = cases.reference(TWO, 3, factors, observe)
    learned = kmmft.models.UncertaintyWeights()
    model, history, trained = cases.train(names=TWO, loss_weights=learned)
    np.testing.assert_allclose(history["loss"], losses + terms, rtol=1e-5)
    # An evaluation has the same sum.
    data = tf.data.Dataset.from_tensors(cases.batch(*TWO))
    found = model.evaluate(data, return_dict=True, verbose=0)
    penalty = float(cases.penalty_of(model)[1])
    own = np.array([found[f"{name}_loss"] - penalty for name in TWO])
    kept = penalty + np.sum([1, 0.5] * np.exp(-s) * own + s / 2)
    assert found["loss"] == pytest.approx(kept, rel=1e-5)
    np.testing.assert_allclose(learned.log_variances, s, atol=1e-6)
    assert np.abs(s).min() > 0.01
    assert largest_difference(trained[: len(weights)], weights) < 1e-5


@pytest.mark.parametrize("kind", [kmmft.training.SGD, keras.optimizers.SGD])
def test_log_variances_do_not_decay(kind):
    def train(weight_decay):
        learned = kmmft.models.UncertaintyWeights()
        optimizer = kind(0.05, weight_decay=weight_decay)
        # What the user excludes stays excluded.
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        model, _, _ = cases.train(
            names=TWO,
            loss_weights=learned,
            optimizer=optimizer,
            steps=1,
            prepare=lambda _: learned.log_variances.assign([3.0, 3.0]),
        )
        logits = model.tasks["tags"].get_layer("logits")
        return [v.numpy() for v in (learned.log_variances, logits.bias, logits.kernel)]

    plain, decayed = train(0.0), train(0.5)
    np.testing.assert_array_equal(plain[0], decayed[0])
    np.testing.assert_array_equal(plain[1], decayed[1])
    assert np.abs(plain[2] - decayed[2]).max() > 1e-3


def grad_norm_step(state, losses, norms, alpha, rate):
    """Chen et al., 2018, eq. 1-2 and algorithm 1."""
    state.setdefault("first", losses)
    weights = state.get("weights", np.ones(len(losses)))
    ratio = losses / state["first"]
    target = np.mean(weights * norms) * (ratio / ratio.mean()) ** alpha
    gradient = np.sign(weights * norms - target) * norms
    weights = weights - rate * gradient
    state["weights"] = weights * len(losses) / weights.sum()


def test_grad_norm_equals_chen():
    rng = np.random.default_rng(0)
    learned = kmmft.models.GradNorm(alpha=0.7, learning_rate=0.05)
    learned.begin(dict.fromkeys("abc", 1.0))
    state = {}
    # So many that the signs of eq. 2 turn out either way for the exponent's sake.
    for _ in range(40):
        losses, norms = rng.uniform(0.5, 2.0, (2, 3)).astype("float32")
        grad_norm_step(state, losses, norms, 0.7, 0.05)
        learned.observe(tf.constant(losses), tf.constant(norms))
        np.testing.assert_allclose(learned.factors(), state["weights"], rtol=1e-4)
    assert np.abs(state["weights"] - 1).max() > 0.05


# Of the weights of `tags`: kernel and bias of a convolution, of a dense layer, and
# of the logits.
CHOSEN = {"*": slice(0, 4), "image_encoder/*/dense*/kernel": slice(2, 3)}


@pytest.mark.parametrize("pattern", CHOSEN)
def test_grad_norm_trains_with_norms_of_the_chosen_weights(pattern):
    state = {}

    def observe(losses, gradients):
        keys = list(gradients[0])[CHOSEN[pattern]]
        norms = [
            np.sqrt(sum((own[key] ** 2).sum() for key in keys)) for own in gradients
        ]
        grad_norm_step(state, losses, np.array(norms), 1.5, 0.1)

    losses, weights = cases.reference(
        TWO, 3, lambda: state.get("weights", np.ones(2)), observe
    )
    learned = kmmft.models.GradNorm(learning_rate=0.1, pattern=pattern)
    _, history, trained = cases.train(names=TWO, loss_weights=learned)
    np.testing.assert_allclose(learned.factors(), state["weights"], rtol=1e-4)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-4)
    assert largest_difference(trained, weights) < 1e-5


def test_grad_norm_waits_for_frozen_weights():
    def lock(model):
        model.tasks["tags"].encoders["image"].trainable = False

    learned = kmmft.models.GradNorm()
    cases.train(names=TWO, loss_weights=learned, prepare=lock, steps=1)
    np.testing.assert_array_equal(learned.factors(), [1.0, 1.0])


def test_a_step_that_overflows_leaves_grad_norm_as_it_is():
    learned = kmmft.models.GradNorm()
    learned.begin({"a": 1.0, "b": 1.0})
    learned.observe(tf.ones(2), tf.constant([np.inf, 1.0]))
    np.testing.assert_array_equal(learned.factors(), [1.0, 1.0])
    np.testing.assert_array_equal(learned.first_losses, [0.0, 0.0])


def test_conflicts_are_projected_on_shared_weights_only():
    conflicts = []

    def combine(gradients, factors):
        one, other = gradients
        shared = [key for key in one if key in other]
        product = sum((one[key] * other[key]).sum() for key in shared)
        squares = [sum((own[k] ** 2).sum() for k in shared) for own in gradients]
        total = cases.add_up(gradients, factors)
        conflicts.append(product < 0)
        for key in shared if product < 0 else []:
            total[key] = (one[key] - product / squares[1] * other[key]) + (
                other[key] - product / squares[0] * one[key]
            )
        return total

    losses, weights = cases.reference(TWO, 4, lambda: np.ones(2), combine=combine)
    _, history, trained = cases.train(names=TWO, project_conflicts=True, steps=4)
    assert any(conflicts)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-5)
    assert largest_difference(trained, weights) < 1e-5


BAD = {
    "must not be negative": lambda: kmmft.models.GradNorm(alpha=-1.0),
    "must be positive": lambda: kmmft.models.GradNorm(learning_rate=0.0),
    "weight must be positive": lambda: kmmft.models.FixedWeights({"a": -1.0}),
    "has tasks already": lambda: [
        kmmft.models.MultiTask(cases.make_models(*TWO), loss_weights=used)
        for used in [kmmft.models.GradNorm()] * 2
    ],
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments_are_errors(message):
    with pytest.raises(ValueError, match=message):
        BAD[message]()


@pytest.mark.parametrize("kind", ["FixedWeights", "UncertaintyWeights", "GradNorm"])
def test_config_round_trip(kind):
    given = {"FixedWeights": {"weights": {"a": 2.0}}, "GradNorm": {"alpha": 0.5}}
    weights = getattr(kmmft.models, kind)(**given.get(kind, {}))
    config = keras.saving.serialize_keras_object(weights)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(weights)
    assert again.get_config() == weights.get_config()
