"""Updates under a plan against the formulas, in NumPy, over several steps."""

import keras
import numpy as np
import pytest

import kmmft
from kmmft.finetuning import Plan, Rule
from tests.finetuning.plan_cases import (
    CountedModel,
    fit,
    make_model,
    optimizer,
    train_in_numpy,
    values,
)

BACKBONE = ("backbone/kernel", "backbone/bias")
HEAD = ("head/kernel", "head/bias")
FISHER = {
    path: np.random.default_rng(3).uniform(0, 2, shape).astype("float32")
    for path, shape in (("backbone/kernel", (4, 3)), ("backbone/bias", (3,)))
}
# Adam's first steps divide small differences by their own size: float32 is 6e-6 off in
# the worst weight, the same training in float64 1e-7.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
# Options of the backbone's rule, what they are in NumPy, and the same of the head's.
CASES = {
    "scale": ({"learning_rate_scale": 0.1}, {"scale": 0.1}, {}, {}),
    "l2": ({"l2": 0.3}, {"l2": 0.3}, {"l2": 0.05}, {"l2": 0.05}),
    "l2_sp": ({"l2_sp": 0.4}, {"l2_sp": 0.4}, {"l2": 0.1}, {"l2": 0.1}),
    "both": ({"l2": 0.1, "l2_sp": 0.4}, {"l2": 0.1, "l2_sp": 0.4}, {}, {}),
    "fisher": ({"l2_sp": 0.4, "fisher": FISHER}, {"l2_sp": 0.4}, {}, {}),
    "decoupled": (
        {"l2_sp": 0.4, "l2_sp_decoupled": True, "learning_rate_scale": 0.5},
        {"pull": 0.4, "scale": 0.5},
        {},
        {},
    ),
    "decay": ({"weight_decay": 0.2}, {"decay": 0.2}, {}, {}),
    "layer_decay": (
        {"layer_decay": 0.5},
        {"scale": 0.5},
        {"layer_decay": 0.5},
        {},
    ),
    "late": (
        {"train_from_epoch": 2, "l2_sp": 0.4},
        {"begins": 4, "l2_sp": 0.4},
        {},
        {},
    ),
    "late_by_steps": ({"train_from_step": 3}, {"begins": 3}, {}, {}),
}


@pytest.mark.parametrize("adam", [True, False], ids=["adamw", "sgd"])
@pytest.mark.parametrize("case", CASES)
def test_ten_steps_equal_numpy(case, adam):
    own, expected, head, expected_head = CASES[case]
    model = make_model()
    start = values(model)
    Plan([Rule("backbone/*", **own), Rule("*", **head)]).apply(model)
    # In a graph and without one, which is quicker to make ten steps.
    model.compile(optimizer(adam, 0.05), "mse", run_eagerly=not adam)
    fit(model, epochs=5)
    settings = {path: dict(expected) for path in BACKBONE}
    settings |= {path: expected_head for path in HEAD}
    if case == "fisher":
        for path in BACKBONE:
            settings[path]["fisher"] = FISHER[path]
    reference = train_in_numpy(start, settings, 10, 0.05, adam)
    plain = train_in_numpy(start, {}, 10, 0.05, adam)
    for path, value in values(model).items():
        np.testing.assert_allclose(value, reference[path], **TOLERANCE)
    # The rule does something that the comparison would see.
    kernel = "backbone/kernel"
    assert np.abs(plain[kernel] - reference[kernel]).max() > 1e-3


def test_rate_of_its_own_is_a_schedule_of_its_own_steps():
    model = make_model()
    start = values(model)
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.2, 0.0])
    rules = [
        Rule("backbone/*", learning_rate=schedule, train_from_epoch=1),
        Rule("*"),
    ]
    Plan(rules).apply(model)
    model.compile(kmmft.training.SGD(0.05), "mse")
    fit(model, epochs=3)
    # One step of 0.2, the third of all, then nothing.
    third = train_in_numpy(
        start,
        {p: {"begins": 2, "scale": 4.0} for p in BACKBONE},
        3,
        0.05,
        adam=False,
    )
    for path in BACKBONE:
        np.testing.assert_allclose(values(model)[path], third[path], rtol=1e-5)


def test_penalty_that_a_weight_had_is_kept():
    model = make_model(kernel_regularizer=keras.regularizers.L2(0.1))
    start = values(model)
    Plan([Rule("*", l2_sp=0.4)]).apply(model)
    model.compile(kmmft.training.SGD(0.05), "mse")
    fit(model, epochs=4)
    settings = {path: {"l2_sp": 0.4} for path in start}
    settings["head/kernel"] = {"l2_sp": 0.4, "l2": 0.1}
    reference = train_in_numpy(start, settings, 8, 0.05, adam=False)
    for path, value in values(model).items():
        np.testing.assert_allclose(value, reference[path], **TOLERANCE)


def test_weights_that_the_optimizer_excludes_do_not_decay():
    model = make_model()
    start = values(model)
    Plan([Rule("*", weight_decay=0.3)]).apply(model)
    own = kmmft.training.AdamW(0.05)
    own.exclude_from_weight_decay(var_names=["bias"])
    model.compile(own, "mse")
    fit(model, epochs=3)
    settings = {path: {"decay": 0.3} for path in start if path.endswith("kernel")}
    reference = train_in_numpy(start, settings, 6, 0.05, adam=True)
    for path, value in values(model).items():
        np.testing.assert_allclose(value, reference[path], **TOLERANCE)


@pytest.mark.parametrize("model_class", [CountedModel, keras.Model])
def test_stock_keras_models_train_alike(model_class):
    model = make_model(model_class)
    rules = [Rule("backbone/*", train_from_epoch=1, l2_sp=0.4), Rule("*")]
    start = values(model)
    finetuning = Plan(rules).apply(model)
    model.compile(kmmft.training.AdamW(0.05, weight_decay=0.0), "mse")
    fit(model, epochs=3, callbacks=[finetuning])
    settings = {path: {"begins": 2, "l2_sp": 0.4} for path in BACKBONE}
    reference = train_in_numpy(start, settings, 6, 0.05, adam=True)
    for path, value in values(model).items():
        np.testing.assert_allclose(value, reference[path], **TOLERANCE)


def test_fisher_is_kept_for_checkpoints_on_the_weights_devices(two_replicas):
    with two_replicas.scope():
        model = make_model()
        rules = [Rule("backbone/*", l2_sp=0.4, fisher=FISHER), Rule("*")]
        finetuning = Plan(rules).apply(model)
    # Two anchors, then the information of these two weights.
    assert len(finetuning.variables) == 4
    for path, kept in zip(BACKBONE, finetuning.variables[2:], strict=True):
        np.testing.assert_array_equal(kept.numpy(), FISHER[path])
        assert len(two_replicas.experimental_local_results(kept.value)) == 2
    # They are what the penalties read.
    finetuning.variables[2].assign(np.zeros((4, 3)))
    finetuning.variables[3].assign(np.zeros(3))
    for variable in model.trainable_variables:
        variable.assign_add(np.ones(variable.shape))
    assert sum(float(loss) for loss in model.losses) == 0.0


@pytest.mark.parametrize("replicas", ["two_replicas", "four_replicas"])
def test_replicas_equal_numpy_on_the_global_batch(replicas, request):
    strategy = request.getfixturevalue(replicas)
    with strategy.scope():
        model = make_model()
        start = values(model)
        rules = [
            Rule("backbone/*", train_from_epoch=1, l2_sp=0.4, learning_rate_scale=0.5),
            Rule("*", l2=0.1),
        ]
        Plan(rules).apply(model)
        model.compile(kmmft.training.AdamW(0.05, weight_decay=0.0), "mse")
    fit(model, epochs=3)
    settings = {p: {"begins": 2, "l2_sp": 0.4, "scale": 0.5} for p in BACKBONE}
    settings |= {path: {"l2": 0.1} for path in HEAD}
    reference = train_in_numpy(start, settings, 6, 0.05, adam=True)
    for path, value in values(model).items():
        np.testing.assert_allclose(value, reference[path], **TOLERANCE)
