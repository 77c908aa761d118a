"""Adapters in whole trainings: what moves, on replicas, in checkpoints, exported."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.finetuning import DoRA, LoRA, Plan, Rule, named_layers, named_variables
from tests.finetuning.adapter_cases import ADAPTERS, LABELS, adapted
from tests.models.test_dual_encoder import TEXTS
from tests.models.test_dual_encoder import make_model as make_dual
from tests.models.test_fusion_classifier import batch_of, png

ADDED = ("lora_a", "lora_b", "magnitude", "ia3", "prefix_key", "prefix_value")
ADDED += ("down_kernel", "down_bias", "up_kernel", "up_bias")
TWO_REPLICAS = ("lora", "dora", "prefix", "houlsby", "parallel")


@pytest.mark.parametrize("kind", ADAPTERS)
def test_only_adapters_and_the_head_move(kind):
    model = adapted(ADAPTERS[kind], disturbed=False)
    before = {path: v.numpy() for path, v in named_variables(model).items()}
    # These train in graphs below, on one device and two.
    eager = kind in TWO_REPLICAS
    model.compile(kmmft.training.AdamW(0.05, weight_decay=0.1), run_eagerly=eager)
    batch = batch_of(model)
    model.fit(batch, LABELS, epochs=3, verbose=0)
    for path, weight in named_variables(model).items():
        name = path.rpartition("/")[2]
        trains = name in ADDED or path.startswith("logits")
        trains |= kind == "bitfit" and name in ("bias", "beta")
        moved = np.any(weight.numpy() != before[path])
        # A key's bias adds the same to all scores of a query: it has no gradient.
        if not path.endswith("key/bias"):
            assert moved == trains, path
    assert np.isfinite(model(batch)).all()


# Without dropout, and with a change small enough for three steps of SGD.
SMALL = {"lora": LoRA(rank=2, alpha=2), "dora": DoRA(rank=2, alpha=2)}


class Model(kmmft.training.DistributedTraining, keras.Model):
    pass


def small_block(strategy, adapter, policy="float32"):
    """Three steps of a model with one attention."""
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(policy)
    with strategy.scope():
        inputs = keras.Input((3, 8))
        x = keras.layers.Dense(8, name="dense")(inputs)
        x = keras.layers.MultiHeadAttention(2, 4, name="attention")(x, x)
        x = keras.layers.GlobalAveragePooling1D()(x)
        model = Model(inputs, keras.layers.Dense(1, name="head", dtype="float32")(x))
    start = np.random.default_rng(2)
    for weight in model.weights:
        weight.assign(0.3 * start.normal(size=weight.shape))
    Plan([Rule("attention/*", adapter=adapter), Rule("*")]).apply(model)
    trained = model.trainable_weights
    for weight in trained:
        weight.assign(0.3 * start.normal(size=weight.shape))
    with strategy.scope():
        # Adam would make much of the rounding of gradients near zero.
        model.compile(kmmft.training.SGD(0.03, momentum=0.9), "mse")
    before = [weight.numpy() for weight in trained]
    data = np.random.default_rng(3)
    x, y = data.normal(size=(8, 3, 8)), data.normal(size=(8, 1))
    batch = tf.data.Dataset.from_tensors((x, y)).repeat(3)
    logs = model.fit(batch, verbose=0).history
    moved = {
        weight.name: np.abs(weight.numpy() - value).max()
        for weight, value in zip(trained, before, strict=True)
    }
    assert min(moved.values()) > 1e-5, moved
    return model, logs["loss"][0]


@pytest.mark.parametrize("kind", TWO_REPLICAS)
def test_two_replicas_equal_one_device(kind, two_replicas):
    adapter = SMALL.get(kind, ADAPTERS[kind])
    one, loss = small_block(tf.distribute.get_strategy(), adapter)
    two, other_loss = small_block(two_replicas, adapter)
    assert other_loss == pytest.approx(loss, rel=1e-5)
    for a, b in zip(one.weights, two.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)
        assert len(two_replicas.experimental_local_results(b.value)) == 2


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_float16_trains_with_a_loss_scale(kind):
    model, loss = small_block(
        tf.distribute.get_strategy(), SMALL[kind], "mixed_float16"
    )
    assert np.isfinite(loss)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert {v.dtype for v in model.trainable_weights} == {"float32"}


def test_a_killed_run_goes_on_exactly(tmp_path):
    def start():
        model = adapted(LoRA(rank=2, dropout_rate=0.2), disturbed=False)
        for number, weight in enumerate(model.trainable_variables):
            rng = np.random.default_rng(number)
            weight.assign(rng.normal(size=weight.shape))
        model.compile(kmmft.training.AdamW(0.05))
        return model, {"x": batch_of(model), "y": LABELS, "verbose": 0}

    whole, data = start()
    whole.fit(**data, epochs=2, shuffle=False)
    first, data = start()
    checkpointer = kmmft.training.Checkpointer(tmp_path, first)
    first.fit(**data, epochs=1, shuffle=False, callbacks=[checkpointer])
    second, data = start()
    for weight in second.trainable_variables:
        weight.assign(np.zeros(weight.shape))
    assert kmmft.training.Checkpointer(tmp_path, second).restore() == 1
    second.fit(**data, epochs=2, initial_epoch=1, shuffle=False)
    for one, other in zip(whole.weights, second.weights, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.path)


@pytest.mark.parametrize("kind", ["lora", "parallel", "prefix"])
def test_an_adapted_model_exports_as_a_graph(kind, tmp_path):
    model = adapted(ADAPTERS[kind])
    batch = batch_of(model)
    model.export(tmp_path / "served", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "served")
    np.testing.assert_allclose(loaded.serve(batch), model(batch), atol=1e-5)


def test_rematerialised_blocks_train_alike():
    weights = []
    for again in (False, True):
        model = adapted(ADAPTERS["parallel"], disturbed=False)
        for number, weight in enumerate(model.trainable_variables):
            rng = np.random.default_rng(number)
            weight.assign(0.3 * rng.normal(size=weight.shape))
        if again:
            kmmft.training.rematerialise(model)
        model.compile(kmmft.training.SGD(0.1))
        model.fit(batch_of(model), LABELS, epochs=2, shuffle=False, verbose=0)
        weights.append([v.numpy() for v in model.weights])
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_adapters_of_a_dual_encoder_train():
    model = make_dual()
    plan = [Rule("*_encoder/*", adapter=LoRA(rank=2, targets="*/query")), Rule("*")]
    Plan(plan).apply(model)
    adapted_paths = [p for p, v in named_layers(model).items() if hasattr(v, "adapter")]
    assert len(adapted_paths) == 2
    model.compile(kmmft.training.AdamW(0.05))
    raw = {
        "image": tf.constant([png(3), png(90), png(200)]),
        "text": tf.constant(TEXTS),
    }
    data = tf.data.Dataset.from_tensors(model.preprocess(raw)).repeat(4)
    losses = [model.fit(data, verbose=0).history["loss"][0] for _ in range(2)]
    assert losses[1] < losses[0]
