"""Magnitude pruning: the masks and the training under them, against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.finetuning import Plan, Rule, prune, zero_shares
from tests.finetuning.plan_cases import fit, make_model, train_in_numpy, values
from tests.training.killed_runs import KillAt, Killed, examples

KERNELS = ("backbone/kernel", "head/kernel")


def masks(start, sparsity, scope):
    """Which weights are left: all but the round(s n) smallest."""
    if scope == "layer":
        limits = {
            path: np.sort(np.abs(start[path]).ravel())[
                round(sparsity * start[path].size)
            ]
            for path in KERNELS
        }
    else:
        every = np.sort(np.concatenate([np.abs(start[p]).ravel() for p in KERNELS]))
        limits = dict.fromkeys(KERNELS, every[round(sparsity * every.size)])
    return {path: np.abs(start[path]) >= limits[path] for path in KERNELS}


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.65])
def test_the_smallest_become_zero(scope, sparsity):
    model = make_model()
    # Kernels of different scales, so that the scopes differ.
    model.get_layer("head").kernel.assign([[0.02], [-3.0], [0.01]])
    before = values(model)
    kept = masks(before, sparsity, scope)
    shares = prune(model, sparsity, scope=scope)
    for path, value in values(model).items():
        np.testing.assert_array_equal(value, before[path] * kept.get(path, 1))
    assert shares == zero_shares(model)
    assert shares == pytest.approx({path: 1 - kept[path].mean() for path in KERNELS})


@pytest.mark.parametrize("adam", [True, False])
def test_recovery_is_training_under_the_mask(adam):
    model = make_model()
    prune(model, 0.5)
    start = values(model)
    if adam:
        optimizer = kmmft.training.AdamW(0.05, weight_decay=0.1)
    else:
        optimizer = kmmft.training.SGD(0.05, weight_decay=0.1)
    model.compile(optimizer, "mse")
    fit(model, epochs=5)
    settings = {path: {"decay": 0.1} for path in start}
    for path in KERNELS:
        settings[path]["kept"] = start[path] != 0
    expected = train_in_numpy(start, settings, steps=10, rate=0.05, adam=adam)
    for path, value in values(model).items():
        np.testing.assert_allclose(value, expected[path], rtol=1e-4, atol=1e-6)
        assert np.abs(value - start[path]).max() > 1e-2


OPTIMIZERS = {
    "fused_momentum": lambda: kmmft.training.SGD(0.05, 0.9, weight_decay=0.1),
    "keras": lambda: keras.optimizers.AdamW(0.05, weight_decay=0.1, clipnorm=1.0),
    "averaged": lambda: kmmft.training.AdamW(0.05, use_ema=True, ema_momentum=0.5),
    "recipes": lambda: kmmft.training.adamw(0.05, total_steps=8, weight_decay=0.1),
}


@pytest.mark.parametrize(
    ("policy", "optimizer"),
    [
        ("float32", "fused_momentum"),
        ("float32", "averaged"),
        ("mixed_bfloat16", "keras"),
        ("mixed_float16", "recipes"),
        ("bfloat16", "fused_momentum"),
    ],
)
def test_zeros_stay_zeros(policy, optimizer):
    keras.config.set_dtype_policy(policy)
    model = make_model()
    prune(model, 0.5, scope="layer")
    start = values(model)
    model.compile(OPTIMIZERS[optimizer](), "mse")
    fit(model, epochs=4)
    assert_zeros_alone(start, values(model))


def assert_zeros_alone(start, after):
    for path in KERNELS:
        pruned = start[path] == 0
        assert pruned.any() and not after[path][pruned].any()
        moved = np.abs(after[path].astype("float32") - start[path].astype("float32"))
        # Before a pruned weight others have no gradient.
        assert moved[~pruned].max() > 1e-4


def test_two_replicas_are_one_device(two_replicas):
    found = []
    for strategy in (tf.distribute.get_strategy(), two_replicas):
        with strategy.scope():
            model = make_model()
            prune(model, 0.5)
            model.compile(kmmft.training.adamw(0.05, 8, global_clipnorm=0.5), "mse")
        start = values(model)
        fit(model, epochs=4)
        for replica in range(strategy.num_replicas_in_sync):
            kernel = model.get_layer("backbone").kernel.value
            local = strategy.experimental_local_results(kernel)[replica].numpy()
            assert not local[start["backbone/kernel"] == 0].any()
        found.append(values(model))
    for path, value in found[0].items():
        np.testing.assert_allclose(found[1][path], value, atol=1e-5)
    assert np.abs(found[0]["backbone/kernel"] - start["backbone/kernel"]).max() > 1e-2


def test_a_plan_pulls_no_weight_away_from_zero():
    model = make_model()
    plan = Plan([Rule("*kernel", l2_sp=0.5, l2_sp_decoupled=True), Rule("*")])
    applied = plan.apply(model)  # the anchors are those of the dense model
    prune(model, 0.5)
    start = values(model)
    model.compile(kmmft.training.AdamW(0.05), "mse")
    fit(model, epochs=2, callbacks=[applied])
    assert_zeros_alone(start, values(model))


def test_saved_and_pruned_again_it_goes_on(tmp_path):
    model = make_model(keras.Model)
    prune(model, 0.5)
    model.compile("adam", "mse")
    fit(model, epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    before = values(loaded)
    assert zero_shares(loaded) == zero_shares(model)
    prune(loaded, 0.5)
    for path, value in values(loaded).items():
        np.testing.assert_array_equal(value, before[path])
    fit(loaded, epochs=1)
    assert_zeros_alone(before, values(loaded))


def test_a_killed_run_ends_as_an_uninterrupted_one(tmp_path):
    def pruned(directory):
        model = make_model()
        prune(model, 0.5)
        model.compile(kmmft.training.AdamW(0.05), "mse")
        return model, kmmft.training.Checkpointer(directory, model, every_seconds=0)

    def train(model, checkpointer, *others):
        step = checkpointer.restore()
        model.fit(
            examples(step),
            steps_per_epoch=6 - step,
            callbacks=[*others, checkpointer],
            verbose=0,
        )
        return values(model)

    whole = train(*pruned(tmp_path / "whole"))
    with pytest.raises(Killed):
        train(*pruned(tmp_path / "killed"), KillAt(4))
    resumed = train(*pruned(tmp_path / "killed"))
    for path, value in whole.items():
        np.testing.assert_array_equal(resumed[path], value)
    assert zero_shares(make_model()) != {path: 0.5 for path in KERNELS}


def test_constraints_of_the_layers_hold_beside_it():
    model = make_model(kernel_constraint="non_neg")
    model.get_layer("head").kernel.assign([[0.5], [0.01], [0.3]])
    kernel = model.get_layer("head").kernel
    prune(model, 0.3, "head/kernel")
    prune(model, 0.6, "head/kernel")
    model.compile(keras.optimizers.SGD(5.0), "mse", run_eagerly=True)
    fit(model, epochs=1)
    assert kernel.numpy().min() == 0 and not kernel.numpy()[1:].any()
    prune(model, 0, "head/kernel")
    assert isinstance(kernel.constraint, keras.constraints.NonNeg)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 1.0}, r"`sparsity` must be in \[0, 1\).*1.0"),
        ({"sparsity": -0.1}, "`sparsity` must be in"),
        ({"sparsity": 0.5, "scope": "block"}, "`scope` must be one of.*'block'"),
        ({"sparsity": 0.5, "targets": "bakbone/*"}, r"matches none.*backbone/\*"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        prune(make_model(), **arguments)


def test_bad_models():
    model = make_model()
    model.get_layer("head").kernel.assign([[np.nan], [1.0], [1.0]])
    with pytest.raises(ValueError, match=r"must be finite.*head/kernel"):
        prune(model, 0.5)
    model = make_model()
    lora = kmmft.finetuning.LoRA(rank=1)
    Plan([Rule("backbone/*", adapter=lora), Rule("*")]).apply(model)
    with pytest.raises(ValueError, match="merge_adapters"):
        prune(model, 0.5)
