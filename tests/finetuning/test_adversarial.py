"""Perturbations are those of the papers, and training on them is what NumPy finds."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft.finetuning as ft
from kmmft.finetuning.layer_outputs import ChangeableParts, token_mask
from kmmft.finetuning.norm_ball import NormBall
from kmmft.finetuning.perturbation import TOKEN_EMBEDDINGS
from tests.finetuning import step_option_cases as cases
from tests.models import contrastive_cases, test_fusion_generator

Y = np.array([[1.0], [-1.0], [0.5], [2.0]], "float32")


# === NumPy's own computation, for a linear model and its squared error ===
def errors(w, b, delta):
    return (cases.X + delta) @ w + b - Y


def climb(w, b, delta, size, norm):
    gradient = errors(w, b, delta) * w.T
    if norm == "inf":
        return delta + size * np.sign(gradient)
    return delta + size * gradient / np.linalg.norm(gradient, axis=1, keepdims=True)


def project(delta, epsilon, norm):
    if norm == "inf":
        return np.clip(delta, -epsilon, epsilon)
    length = np.linalg.norm(delta, axis=1, keepdims=True)
    return delta * np.minimum(1, epsilon / np.maximum(length, 1e-12))


def fgm(w, b, norm):
    worst = climb(w, b, 0 * cases.X, 0.4, norm)
    return [(1.0, 0 * cases.X), (0.7, worst)]


def way_up(w, b, steps, norm):
    deltas = [0 * cases.X]
    for _ in range(steps):
        deltas.append(project(climb(w, b, deltas[-1], 0.3, norm), 0.5, norm))
    return deltas


def pgd(w, b, norm):
    deltas = way_up(w, b, 3, norm)
    return [(0.25, deltas[0]), (1.0, deltas[-1])]


def free_lb(w, b, norm):
    return [(1 / 3, delta) for delta in way_up(w, b, 2, norm)]


def expected(passes, norm, steps=4):
    """Losses and last weights of gradient descent on a weighted sum of passes."""
    w, b = (v.astype("float64") for v in cases.linear().get_weights())
    losses = []
    for _ in range(steps):
        gradient_w, gradient_b, loss = 0 * w, 0 * b, 0.0
        for weight, delta in passes(w, b, norm):
            error = errors(w, b, delta)
            loss += weight * (error**2).mean()
            gradient_w += weight * 2 * (cases.X + delta).T @ error / len(error)
            gradient_b += weight * 2 * error.mean(0)
        # The penalty counts once, however many passes there are.
        losses.append(loss + 0.01 * (w**2).sum())
        w = w - 0.05 * (gradient_w + 0.02 * w)
        b = b - 0.05 * gradient_b
    return losses, [w, b]


OPTIONS = {
    fgm: lambda norm: ft.FGM(0.4, layers="x", norm=norm, weight=0.7),
    pgd: lambda norm: ft.PGD(0.5, 0.3, 3, layers="x", norm=norm, clean_weight=0.25),
    free_lb: lambda norm: ft.FreeLB(
        0.5, 0.3, 3, random_start=False, layers="x", norm=norm
    ),
}
WAYS = [
    *[(passes, norm, 1, None) for passes in OPTIONS for norm in ("l2", "inf")],
    (fgm, "l2", 2, None),
    (free_lb, "l2", 2, None),
    (pgd, "l2", 1, 2),
]


@pytest.mark.parametrize(("passes", "norm", "replicas", "micro_batch_size"), WAYS)
def test_steps_equal_numpy(passes, norm, replicas, micro_batch_size, two_replicas):
    strategy = two_replicas if replicas == 2 else None
    model = cases.linear(
        strategy=strategy, kernel_regularizer=keras.regularizers.L2(0.01)
    )
    model.micro_batch_size = micro_batch_size
    options = [OPTIONS[passes](norm)]
    losses = cases.fit(
        model,
        options,
        cases.X,
        Y,
        steps=4,
        loss="mse",
        optimizer=lambda: keras.optimizers.SGD(0.05),
    )
    expected_losses, expected_weights = expected(passes, norm)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    for weight, other in zip(model.get_weights(), expected_weights, strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-5)


@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("norm", ["l2", "inf"])
@pytest.mark.parametrize("option", [ft.PGD, ft.FreeLB])
def test_perturbations_stay_in_the_ball(option, norm, per_token):
    inputs = keras.Input((5, 3), name="x")
    x = keras.layers.Dense(4, activation="tanh")(inputs)
    model = cases.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(x)))
    spy = cases.Spy()
    clean = np.random.default_rng(2).normal(size=(4, 5, 3)).astype("float32")
    perturb = option(
        0.3, 0.2, 5, random_start=True, layers="x", norm=norm, per_token=per_token
    )
    cases.fit(model, [spy, perturb], clean, Y, steps=1, loss="mse", eager=True)
    deltas = np.stack([batch[0].numpy() - clean for batch in spy.batches])
    assert len(deltas) == (6 if option is ft.PGD else 5)
    axes = 3 if per_token else (2, 3)
    if norm == "l2":
        norms = np.sqrt((deltas**2).sum(axes))
    else:
        norms = np.abs(deltas).max(axes)
    assert norms.max() <= 0.3 + 1e-5
    # Steps of 0.2 reach the edge, and the start is no zero.
    assert norms[-1].min() > 0.29
    assert norms[0].min() > 0
    assert norms[0].max() < 0.3


def test_random_start_is_free_lbs():
    """Uniform in [-epsilon, epsilon], over the root of the number of real entries."""
    mask = np.ones((200, 6, 5), "float32")
    mask[:, 4:] = 0
    delta = NormBall(0.8).random(tf.constant([1, 2]), tf.constant(mask)).numpy()
    largest = 0.8 / np.sqrt(4 * 5)
    assert not delta[:, 4:].any()
    real = delta[:, :4]
    assert 0.98 * largest < np.abs(real).max() <= largest * (1 + 1e-6)
    np.testing.assert_allclose(real.var(), largest**2 / 3, rtol=0.05)


def test_directions_of_tiny_huge_and_broken_gradients():
    gradients = tf.constant([[3e-30, 4e-30], [3e30, 4e30], [0, 0], [np.inf, 1]])
    direction = NormBall(1.0).direction(gradients).numpy()
    np.testing.assert_allclose(direction[:3], [[0.6, 0.8], [0.6, 0.8], [0, 0]], 1e-6)
    assert np.isfinite(direction).all()


def text_model():
    ids = keras.Input((4,), dtype="int32", name="token_ids")
    mask = keras.Input((4,), dtype="bool", name="padding_mask")
    x = keras.layers.Embedding(9, 5, name="token_embedding")(ids)
    seen = cases.Seen(name="seen")
    x = keras.layers.GlobalAveragePooling1D()(keras.ops.tanh(seen(x)))
    inputs = {"token_ids": ids, "padding_mask": mask}
    return cases.Model(inputs, keras.layers.Dense(1)(x)), seen


@pytest.mark.parametrize(
    "option", [ft.FGM(0.5), ft.FreeLB(0.5), ft.PGD(0.5, random_start=True)]
)
def test_padding_is_not_perturbed(option):
    """Though this model attends to it."""
    model, seen = text_model()
    x = {
        "token_ids": np.array([[1, 2, 3, 0], [4, 5, 0, 0]]),
        "padding_mask": np.array([[1, 1, 1, 0], [1, 1, 0, 0]], bool),
    }
    table = model.get_layer("token_embedding").get_weights()[0]
    cases.fit(model, [option], x, Y[:2], steps=1, loss="mse", eager=True)
    delta = seen.values[-1].numpy() - table[x["token_ids"]]
    assert np.abs(delta[~x["padding_mask"]]).max() < 1e-7
    assert np.abs(delta[x["padding_mask"]]).min() > 1e-5
    if isinstance(option, ft.FGM):
        np.testing.assert_allclose(np.linalg.norm(delta, axis=(1, 2)), 0.5, rtol=1e-5)


BOTH = {cases.TEXT: 0.5, "image": 20.0}


@pytest.mark.parametrize("kind", cases.KINDS)
@pytest.mark.parametrize(
    "option",
    [ft.FGM(layers=BOTH), ft.FreeLB(steps=2, layers=BOTH, random_start=False)],
    ids=lambda option: type(option).__name__,
)
def test_replicas_equal_one_device(kind, option, two_replicas):
    losses, weights = cases.fit_kind(kind, [option])
    other_losses, others = cases.fit_kind(kind, [option], strategy=two_replicas)
    np.testing.assert_allclose(other_losses, losses, rtol=1e-4)
    assert contrastive_cases.largest_difference(weights, others) < 2e-5


@pytest.mark.parametrize("kind", cases.KINDS)
def test_the_loss_rises_with_the_steps(kind):
    def first_loss(*options):
        return cases.fit_kind(kind, options, steps=1, eager=True)[0][0]

    near = {cases.TEXT: 0.2, "image": 5.0}
    options = [ft.PGD(steps=steps, layers=near) for steps in (1, 4)]
    clean, one, four = first_loss(), first_loss(options[0]), first_loss(options[1])
    assert clean + 1e-3 < one
    assert one < four + 1e-4


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_is_near_float32(dtype):
    option = ft.FGM(layers=BOTH)
    losses = cases.fit_kind("classifier", [option], eager=True)[0]
    keras.config.set_dtype_policy(dtype)

    def optimizer():
        sgd = keras.optimizers.SGD(cases.RATE)
        if dtype == "mixed_bfloat16":
            return sgd
        return keras.optimizers.LossScaleOptimizer(sgd, 64)

    others = cases.fit_kind("classifier", [option], optimizer=optimizer)[0]
    np.testing.assert_allclose(others, losses, rtol=0.03)


def test_all_passes_draw_the_same_masks():
    spy, seen = cases.Spy(), cases.Seen()
    dropout = keras.layers.Dropout(0.5)
    model = cases.linear(before=[dropout, seen])
    options = [spy, ft.FreeLB(0.1, layers="x")]
    cases.fit(model, options, cases.X, Y, steps=1, loss="mse", eager=True)
    assert spy.parts == [0, 0, 0]
    masks = [x.numpy() == 0 for x in seen.values]
    assert 0 < masks[0].sum() < masks[0].size
    np.testing.assert_array_equal(masks[1], masks[0])


def test_a_pattern_that_matches_nothing_names_near_ones():
    model = text_model()[0]
    x = {"token_ids": np.zeros((2, 4), int), "padding_mask": np.ones((2, 4), bool)}
    option = ft.FGM(layers="token_embeding")
    with pytest.raises(ValueError, match=r"matches nothing.*'token_embedding'"):
        cases.fit(model, [option], x, Y[:2], loss="mse")


def test_what_the_loss_does_not_depend_on_is_refused():
    inputs = {name: keras.Input((3,), name=name) for name in ("x", "other")}
    outputs = keras.layers.Dense(1)(inputs["x"])
    model = cases.Model(inputs, outputs)
    x = {"x": cases.X, "other": cases.X}
    with pytest.raises(ValueError, match="loss must depend on what is perturbed"):
        cases.fit(model, [ft.FGM(layers="other")], x, Y, loss="mse")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ft.FGM(-1.0), "radius must not be negative"),
        (lambda: ft.FGM(weight=-1.0), "no number negative"),
        (lambda: ft.PGD(norm="l1"), "`norm` must be one of"),
        (lambda: ft.FreeLB(steps=0), "`steps` must be positive"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("prefix", [False, True])
def test_generator_is_perturbed_in_its_words_and_not_in_its_logits(prefix):
    model = test_fusion_generator.make_model(["question"], prefix=prefix)
    x, *_ = test_fusion_generator.batch_of(model)
    parts = ChangeableParts(model, TOKEN_EMBEDDINGS)
    masks = {}

    def change(name, number, tensor):
        masks[name, number] = token_mask(model, name, x, tensor)
        return 2.0 * tensor

    clean = model(x)
    with parts.changed(x, change) as changed:
        logits = model(changed)
    # Each embedding once: the decoder's own comes again, for the logits.
    assert {name.partition("/")[0]: n for name, n in masks} == {
        model.encoders["question"].name: 0,
        model.decoder.name: 0,
    }
    assert len(masks) == 2
    for (name, _), mask in masks.items():
        encoder = name.startswith(model.encoders["question"].name)
        key = "question_padding_mask" if encoder else "target_padding_mask"
        np.testing.assert_array_equal(mask, x[key])
        assert not mask.numpy().all()
    assert np.abs(logits - clean).max() > 1e-3
