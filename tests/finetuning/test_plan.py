"""What a plan decides: matching, freezing, adapters, dropout, tables and errors."""

import logging

import keras
import keras_hub
import numpy as np
import pytest

import kmmft
from kmmft.finetuning import BitFit, LoRA, Plan, Rule, named_variables
from tests.finetuning.plan_cases import CountedModel, fit, make_model, values

ALL = [Rule("*")]


def test_first_rule_that_matches_counts():
    model = make_model()
    rules = [Rule("*/bias", learning_rate_scale=0.5), Rule("*")]
    applied = Plan(rules).apply(model)
    scales = {w.path: w.learning_rate_scale for w in applied.weights}
    assert scales == {
        "backbone/kernel": 1.0,
        "backbone/bias": 0.5,
        "head/kernel": 1.0,
        "head/bias": 0.5,
    }


def test_plan_alone_decides_what_trains():
    model = make_model()
    model.get_layer("backbone").trainable = False
    Plan([Rule("head/kernel", train=False), Rule("*")]).apply(model)
    trained = [path for path, v in named_variables(model).items() if v.trainable]
    assert trained == ["backbone/kernel", "backbone/bias", "head/bias"]
    assert len(model.trainable_variables) == 3
    assert model.get_layer("backbone").trainable


def test_frozen_weights_do_not_move():
    model = make_model()
    start = values(model)
    Plan([Rule("*/kernel", train=False), Rule("*")]).apply(model)
    model.compile(kmmft.training.AdamW(0.1, weight_decay=0.1), "mse")
    fit(model, 3)
    for path, value in values(model).items():
        assert np.array_equal(value, start[path]) == path.endswith("kernel"), path


def test_frozen_rule_works_with_any_optimizer():
    model = make_model(keras.Model)
    start = values(model)
    finetuning = Plan([Rule("backbone/*", train=False), Rule("*")]).apply(model)
    model.compile("rmsprop", "mse")
    fit(model, 2, callbacks=[finetuning])
    np.testing.assert_array_equal(
        values(model)["backbone/kernel"], start["backbone/kernel"]
    )


def test_adapter_freezes_all_but_what_it_trains():
    model = make_model()
    start = values(model)
    rules = [
        Rule("backbone/*", adapter=LoRA(rank=2), learning_rate_scale=0.5),
        Rule("head/*", adapter=BitFit()),
    ]
    applied = Plan(rules).apply(model)
    trained = [weight for weight in applied.weights if weight.trains]
    scales = {weight.path: weight.learning_rate_scale for weight in trained}
    assert scales == {
        "backbone/lora_a": 0.5,
        "backbone/lora_b": 0.5,
        "head/bias": 1.0,
    }
    model.compile(kmmft.training.AdamW(0.1), "mse")
    fit(model, 3)
    moved = [p for p, v in values(model).items() if (v != start.get(p, v)).any()]
    assert moved == ["head/bias"]
    assert np.abs(values(model)["backbone/lora_b"]).max() > 0
    assert applied.counts() == {
        "parameters": 19 + 2 * (4 + 3),
        "trained_parameters": 14 + 1,
        "frozen_parameters": 18,
        "added_parameters": 14,
    }


def test_summary_by_hand(caplog):
    model = make_model()
    rules = [
        Rule("backbone/*", train_from_epoch=2, l2_sp=0.25, learning_rate_scale=0.1),
        Rule("*", weight_decay=0.05, learning_rate=1),
    ]
    with caplog.at_level(logging.INFO, logger="kmmft"):
        applied = Plan(rules).apply(model)
    lines = [line.split() for line in applied.summary().splitlines()]
    assert lines[1:] == [
        ["backbone/*", "2", "15", "15", "epoch", "2", "x0.1", "l2_sp", "0.25", "-"],
        ["*", "2", "4", "4", "epoch", "0", "1", "x1", "decay", "0.05", "-"],
        ["all", "4", "19", "19", "(100.0%)"],
    ]
    assert applied.summary() in caplog.text


def test_plan_is_plain_data():
    plan = Plan([Rule("a/*", train_from_epoch=2), Rule("*", adapter=BitFit())])
    assert plan == Plan([Rule("a/*", train_from_epoch=2), Rule("*", adapter=BitFit())])
    names = {"Plan": Plan, "Rule": Rule, "BitFit": BitFit}
    assert eval(repr(plan), names) == plan


def dropping(rate):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    x = keras.layers.Dense(64, name="dense")(inputs)
    x = keras.layers.Dropout(rate, name="drop")(x)
    model = CountedModel(inputs, keras.layers.Dense(1, name="head")(x))
    return model, keras.Model(inputs, x)


@pytest.mark.parametrize("made_with, rate", [(0.0, 0.75), (0.5, 0.0), (0.5, 0.25)])
def test_dropout_rate(made_with, rate):
    model, body = dropping(made_with)
    Plan([Rule("*", dropout_rate=rate)]).apply(model)
    x = np.random.default_rng(0).normal(size=(200, 4))
    dropped = np.mean(body(x, training=True).numpy() == 0)
    assert abs(dropped - rate) < 0.02
    model.compile(kmmft.training.AdamW(0.1), "mse")
    fit(model, 1)


def test_dropout_rate_of_an_attention():
    backbone = keras_hub.models.BertBackbone(7, 1, 2, 8, 16, dropout=0.0, name="bert")
    inputs = {
        "token_ids": np.ones((2, 5), "int32"),
        "segment_ids": np.zeros((2, 5), "int32"),
        "padding_mask": np.ones((2, 5), "int32"),
    }

    def differ():
        first, second = (backbone(inputs, training=True) for _ in range(2))
        return not np.array_equal(first["sequence_output"], second["sequence_output"])

    assert not differ()
    Plan([Rule("*", dropout_rate=0.5)]).apply(backbone)
    (attention,) = [
        layer
        for layer in kmmft.finetuning.named_layers(backbone).values()
        if isinstance(layer, keras.layers.MultiHeadAttention)
    ]
    assert attention.dropout == 0.5
    assert differ()


ERRORS = {
    "no_match": ([Rule("bakbone/*"), *ALL], r"matches none.*backbone/\*"),
    "shadowed": ([*ALL, Rule("head/*")], "Put it before them"),
    "left_over": ([Rule("head/*")], r"no rule for.*backbone/kernel.*Rule\('\*'\)"),
    "nothing": ([Rule("*", train=False)], "must train from the beginning"),
    "all_late": ([Rule("*", train_from_epoch=1)], "must train from the beginning"),
    "no_dropout": ([Rule("*", dropout_rate=0.1)], "needs dropout layers"),
    "fisher": ([Rule("*", l2_sp=1.0, fisher={})], "must hold each weight"),
    "fisher_negative": (
        [Rule("head/bias", l2_sp=1.0, fisher={"head/bias": -np.ones(1)}), *ALL],
        "not be negative.*head/bias",
    ),
    "fisher_shape": (
        [Rule("head/bias", l2_sp=1.0, fisher={"head/bias": np.ones(2)}), *ALL],
        "must have the weights' shapes",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_when_applied(case):
    rules, message = ERRORS[case]
    with pytest.raises(ValueError, match=message):
        Plan(rules).apply(make_model())


def losses(model):
    return [float(loss) for loss in model.losses]


def test_plan_that_fails_changes_nothing():
    model = make_model()
    start = list(named_variables(model))
    bad = [
        Rule("backbone/*", adapter=LoRA(rank=2)),
        Rule("head/kernel", l2=0.5),
        Rule("*", l2_sp=1.0, fisher={}),
    ]
    for _ in range(2):
        with pytest.raises(ValueError, match="must hold each weight"):
            Plan(bad).apply(model)
        assert list(named_variables(model)) == start
        assert losses(model) == []
    # The second adapter finds no place when the first is in already.
    without_bias = make_model(use_bias=False)
    with pytest.raises(ValueError, match="needs layers with biases"):
        Plan([bad[0], Rule("*", adapter=BitFit())]).apply(without_bias)
    assert list(named_variables(without_bias)) == start[:3]
    assert not hasattr(without_bias, "inserted_adapters")
    Plan([bad[0], bad[1], Rule("*")]).apply(model)
    kernel = values(model)["head/kernel"]
    assert losses(model) == pytest.approx([0.5 * np.square(kernel).sum()])


def test_plan_of_a_second_model_replaces_the_penalties():
    first = make_model(kernel_regularizer=keras.regularizers.L2(0.25))
    Plan([Rule("head/kernel", l2=0.5, l2_sp=1.0), Rule("*", l2=2.0)]).apply(first)
    second = CountedModel(first.inputs, first.outputs)
    rules = [Rule("backbone/*", train=False), Rule("head/bias"), Rule("*", l2=0.125)]
    Plan(rules).apply(second)
    squares = np.square(values(second)["head/kernel"]).sum()
    assert losses(second) == pytest.approx([0.375 * squares])
    regularizers = {p: v.regularizer for p, v in named_variables(second).items()}
    assert regularizers["backbone/kernel"] is regularizers["head/bias"] is None


def test_second_plan_is_an_error():
    model = make_model()
    Plan(ALL).apply(model)
    with pytest.raises(ValueError, match="one plan"):
        Plan(ALL).apply(model)


def test_model_without_weights_is_an_error():
    with pytest.raises(ValueError, match="must be built"):
        Plan(ALL).apply(keras.Sequential([keras.layers.Dense(1)]))


@pytest.mark.parametrize(
    "options",
    [{"train_from_epoch": 1}, {"learning_rate_scale": 0.1}, {"weight_decay": 0.1}],
)
def test_foreign_optimizer_with_rules_of_its_own_is_an_error(options):
    model = make_model()
    Plan([Rule("backbone/*", **options), *ALL]).apply(model)
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match=r"Received: Adam.*backbone/kernel"):
        fit(model, 1)


def test_averages_of_keras_with_a_late_weight_are_an_error():
    model = make_model()
    Plan([Rule("backbone/*", train_from_epoch=1), *ALL]).apply(model)
    model.compile(kmmft.training.AdamW(0.1, use_ema=True), "mse")
    with pytest.raises(ValueError, match=r"use_ema.*backbone/kernel.*Stochastic"):
        fit(model, 1)


def test_optimizer_that_does_not_know_all_weights_is_an_error():
    model = make_model()
    own = kmmft.training.AdamW(0.1)
    own.build(model.get_layer("head").trainable_variables)
    Plan(ALL).apply(model)
    model.compile(own, "mse")
    with pytest.raises(ValueError, match="built without 'backbone/kernel'"):
        fit(model, 1)


def test_plan_of_another_model_is_an_error():
    finetuning = Plan(ALL).apply(make_model())
    other = make_model(keras.Model)
    other.compile(kmmft.training.AdamW(0.1), "mse")
    with pytest.raises(ValueError, match="the model that it was applied to"):
        fit(other, 1, callbacks=[finetuning])


def test_compiling_anew_begins_anew():
    model = make_model()
    Plan([Rule("backbone/*", train_from_epoch=1), *ALL]).apply(model)
    for _ in range(2):
        model.compile(kmmft.training.AdamW(0.1), "mse")
        before = values(model)["backbone/kernel"]
        fit(model, 1)
        np.testing.assert_array_equal(values(model)["backbone/kernel"], before)
        fit(model, 2)
        assert (values(model)["backbone/kernel"] != before).all()


RULE_ERRORS = {
    "pattern": ({"pattern": ""}, "must be a string"),
    "scale": ({"learning_rate_scale": -1.0}, "not be negative"),
    "rate": ({"learning_rate": -0.1}, r"not be negative.*learning_rate=-0\.1"),
    "l2": ({"l2": -1.0}, "not be negative"),
    "epoch": ({"train_from_epoch": -1}, "number of epochs"),
    "half_epoch": ({"train_from_epoch": 0.5}, "number of epochs"),
    "layer_decay": ({"layer_decay": 0.0}, r"in \(0, 1\]"),
    "dropout": ({"dropout_rate": 1.0}, r"in \[0, 1\)"),
    "frozen": ({"train": False, "l2_sp": 1.0}, "can have none of"),
    "units": ({"train_from_epoch": 1, "train_from_step": 1}, "epochs or steps"),
    "groups": ({"groups": 2}, "Add epochs_per_group"),
    "no_groups": ({"groups": 0, "epochs_per_group": 1}, "be 1 or more"),
    "fisher": ({"fisher": {}}, "need `l2_sp`"),
    "decoupled": (
        {"l2_sp": 1.0, "l2_sp_decoupled": True, "fisher": {}},
        "in the loss",
    ),
}


@pytest.mark.parametrize("case", RULE_ERRORS)
def test_errors_of_rules(case):
    options, message = RULE_ERRORS[case]
    with pytest.raises(ValueError, match=message):
        Rule(**{"pattern": "*", **options})


def test_plan_without_rules_is_an_error():
    with pytest.raises(ValueError, match="needs rules"):
        Plan([])
