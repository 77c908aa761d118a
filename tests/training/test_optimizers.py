"""kmmft's fused optimizers against Keras' composed ones, and against the formulas."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.training.collectives import replica_id

SCHEDULE = keras.optimizers.schedules.CosineDecay(
    1e-4, decay_steps=15, warmup_target=2e-3, warmup_steps=5
)
ADAM = {"weight_decay": 0.1}
CASES = {
    "adamw": ("AdamW", ADAM),
    "no_decay": ("AdamW", {"weight_decay": 0.0}),
    "schedule": ("AdamW", {**ADAM, "learning_rate": SCHEDULE}),
    "clipnorm": ("AdamW", {**ADAM, "clipnorm": 0.3}),
    "global_clipnorm": ("AdamW", {**ADAM, "global_clipnorm": 0.5}),
    "clipvalue": ("AdamW", {**ADAM, "clipvalue": 0.1}),
    "ema": ("AdamW", {**ADAM, "use_ema": True, "ema_overwrite_frequency": 7}),
    "ema_in_the_end": ("AdamW", {**ADAM, "use_ema": True}),
    "loss_scale": ("AdamW", {**ADAM, "loss_scale_factor": 8.0}),
    "betas": ("AdamW", {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3}),
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9, "weight_decay": 0.1}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True, "clipnorm": 0.3}),
}
STEPS = 20


def make(module, name, options):
    return getattr(module, name)(**{"learning_rate": 1e-3, **options})


def build(seed=0):
    keras.utils.set_random_seed(seed)
    ids = keras.Input((3,), dtype="int32")
    x = keras.layers.Embedding(5, 4, name="table")(ids)
    x = keras.layers.Dense(4, activation="tanh")(keras.layers.Flatten()(x))
    return keras.Model(ids, keras.layers.Dense(1, dtype="float32")(x))


def batches():
    random = np.random.default_rng(0)
    x = random.integers(0, 5, (STEPS, 4, 3)).astype("int32")
    return [(tf.constant(i), tf.constant(i.mean(-1, keepdims=True) - 2.0)) for i in x]


def train(model, optimizer, strategy=None):
    """Some steps on one device, or on several replicas that share each batch."""
    strategy = strategy or tf.distribute.get_strategy()
    size = 4 // strategy.num_replicas_in_sync
    with strategy.scope():
        optimizer.build(model.trainable_variables)
    inner = getattr(optimizer, "inner_optimizer", optimizer)

    def step(x, y):
        own = slice(replica_id() * size, (replica_id() + 1) * size)
        x, y = x[own], y[own]
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum((model(x) - tf.cast(y, tf.float32)) ** 2) / 4
            loss = optimizer.scale_loss(loss)
        gradients = tape.gradient(loss, model.trainable_variables)
        if not type(inner).__module__.startswith("kmmft"):
            # Keras squares a sparse gradient's rows before it adds up equal ones.
            gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        optimizer.apply(gradients, model.trainable_variables)

    run = tf.function(lambda *batch: strategy.run(step, batch))
    for batch in batches():
        run(*batch)
    with strategy.scope():
        inner.finalize_variable_values(model.trainable_variables)
    return [variable.numpy() for variable in model.trainable_variables]


@pytest.mark.parametrize("case", CASES)
def test_equals_keras_over_20_steps(case):
    name, options = CASES[case]
    expected = train(build(), make(keras.optimizers, name, options))
    found = train(build(), make(kmmft.training, name, options))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    assert not np.allclose(found[0], build().get_weights()[0], atol=1e-3)


@pytest.mark.parametrize("case", ["adamw", "momentum", "ema_in_the_end"])
def test_two_replicas_equal_keras_on_one_device(two_replicas, case):
    name, options = CASES[case]
    expected = train(build(), make(keras.optimizers, name, options))
    with two_replicas.scope():
        model, optimizer = build(), make(kmmft.training, name, options)
    for a, b in zip(train(model, optimizer, two_replicas), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_equals_keras_in_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    results = []
    for module in (keras.optimizers, kmmft.training):
        optimizer = make(module, *CASES["adamw"])
        if policy == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, 64)
        results.append(train(build(), optimizer))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_jit_compiled_steps_equal_others():
    weights = []
    for jit_compile in (False, True):
        model, optimizer = build(), make(kmmft.training, *CASES["adamw"])
        model.compile(optimizer, "mse", jit_compile=jit_compile)
        for x, y in batches()[:3]:
            model.train_on_batch(x, y)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_saved_and_loaded_training_goes_on(name, tmp_path):
    options = {"momentum": 0.9} if name == "SGD" else {"weight_decay": 0.1}

    def steps(model, part):
        for x, y in batches()[part]:
            model.train_on_batch(x, y)

    whole = build()
    whole.compile(make(kmmft.training, name, options), "mse")
    steps(whole, slice(0, 6))
    half = build()
    half.compile(make(kmmft.training, name, options), "mse")
    steps(half, slice(0, 3))
    half.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is getattr(kmmft.training, name)
    steps(loaded, slice(3, 6))
    for a, b in zip(loaded.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def one_weight(value, **rule):
    weight = keras.Variable(np.array(value, "float32"))
    weight.update_rule = kmmft.training.UpdateRule(**rule)
    return weight


def test_rates_and_decays_of_its_own():
    anchor = keras.Variable(np.array([2.0, 0.0], "float32"))
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.5, 0.25])
    weights = [
        one_weight([1.0, -1.0], learning_rate_scale=0.5),
        one_weight([1.0, -1.0], learning_rate=0.2, weight_decay=0.0),
        one_weight([1.0, -1.0], l2_sp=0.3, anchor=anchor, weight_decay=0.1),
        one_weight([1.0, -1.0], learning_rate=schedule, weight_decay=0.0),
    ]
    optimizer = kmmft.training.SGD(0.1, weight_decay=0.4)
    expected = [np.array([1.0, -1.0]) for _ in weights]
    for step in range(2):
        gradients = [np.array([0.5, 1.0]) * (i + 1) for i in range(4)]
        optimizer.apply([tf.constant(g, tf.float32) for g in gradients], weights)
        for i, (rate, decay, pull) in enumerate(
            [
                (0.05, 0.4, 0.0),
                (0.2, 0.0, 0.0),
                (0.1, 0.1, 0.3),
                ([0.5, 0.25][step], 0.0, 0.0),
            ]
        ):
            w = expected[i]
            w = w - rate * (decay * w + pull * (w - np.array([2.0, 0.0])))
            expected[i] = w - rate * gradients[i]
    for weight, value in zip(weights, expected, strict=True):
        np.testing.assert_allclose(weight.numpy(), value, rtol=1e-6)


def test_a_restarted_weight_is_updated_as_by_a_new_optimizer():
    def run(optimizer, weight, number):
        for step in range(number):
            optimizer.apply([tf.constant([0.1 * step + 0.2, -1.0])], [weight])

    old, new = one_weight([1.0, 2.0]), one_weight([1.0, 2.0])
    optimizer = kmmft.training.AdamW(0.1)
    other = one_weight([1.0, 2.0])
    optimizer.build([other, old])
    run(optimizer, other, 5)
    optimizer.restart([old])
    run(optimizer, old, 3)
    run(kmmft.training.AdamW(0.1), new, 3)
    np.testing.assert_allclose(old.numpy(), new.numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    "options", [{"weight_decay": -1.0}, {"learning_rate_scale": -0.1}, {"l2_sp": -1}]
)
def test_negative_numbers_are_refused(options):
    with pytest.raises(ValueError, match="must not be negative"):
        kmmft.training.UpdateRule(**options)


def test_a_pull_without_anchor_and_amsgrad_are_refused():
    with pytest.raises(ValueError, match="needs an anchor"):
        kmmft.training.UpdateRule(l2_sp=0.1)
    with pytest.raises(ValueError, match="no AMSGrad"):
        kmmft.training.AdamW(0.1, amsgrad=True)


def test_nodes_of_the_training_graph():
    def nodes(module):
        variables = [keras.Variable(np.ones(3)) for _ in range(20)]
        optimizer = make(module, *CASES["adamw"])
        optimizer.build(variables)
        step = tf.function(lambda *g: optimizer.apply(g, variables))
        graph = step.get_concrete_function(*[tf.ones(3)] * 20).graph
        return len(graph.get_operations())

    assert nodes(kmmft.training) < 0.5 * nodes(keras.optimizers)
