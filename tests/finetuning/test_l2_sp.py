"""The pull to a weight's start, against the published formula in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.finetuning import L2SP, anchor_of

STRENGTH = 0.3
RANDOM = np.random.default_rng(0)
WEIGHT, START = RANDOM.normal(size=(2, 4, 3)).astype("float32")
FISHER = RANDOM.uniform(size=(4, 3)).astype("float32")
X = RANDOM.normal(size=(6, 4, 4)).astype("float32")
Y = RANDOM.normal(size=(6, 4, 3)).astype("float32")


class Model(kmmft.training.DistributedTraining, keras.Model):
    pass


def make_model(start=START):
    inputs = keras.Input((4,))
    dense = keras.layers.Dense(3, use_bias=False, name="dense")
    outputs = keras.layers.Activation("linear", dtype="float32")(dense(inputs))
    dense.kernel.assign(start)
    return Model(inputs, outputs), dense.kernel


def train(model, optimizer):
    model.compile(optimizer, keras.losses.MeanSquaredError("sum_over_batch_size"))
    batches = tf.data.Dataset.from_tensor_slices((X, Y)).unbatch().batch(4)
    model.fit(batches, shuffle=False, verbose=0)
    return model.get_weights()[0]


def expected_weights(update, start=START, fisher=1.0, strength=STRENGTH):
    """NumPy: the squared error's gradient, and that of the pull."""
    weight = start.astype("float64")
    for x, y in zip(X, Y, strict=True):
        gradient = 2 * x.T @ (x @ weight - y) / y.size
        gradient += 2 * strength * fisher * (weight - start)
        weight = update(weight, gradient)
    return weight


def sgd(weight, gradient):
    return weight - 0.1 * gradient


def adamw(decay=0.0):
    state = {"m": 0.0, "v": 0.0, "step": 0}

    def update(weight, gradient):
        state["step"] += 1
        state["m"] = 0.9 * state["m"] + 0.1 * gradient
        state["v"] = 0.999 * state["v"] + 0.001 * gradient**2
        m = state["m"] / (1 - 0.9 ** state["step"])
        v = state["v"] / (1 - 0.999 ** state["step"])
        return weight - 0.1 * decay * weight - 0.1 * m / (np.sqrt(v) + 1e-7)

    return update


OPTIMIZERS = {
    "sgd": (lambda: kmmft.training.SGD(0.1), lambda: sgd),
    "adamw": (
        lambda: kmmft.training.AdamW(0.1, weight_decay=0.05),
        lambda: adamw(0.05),
    ),
    "keras_adamw": (
        lambda: keras.optimizers.AdamW(0.1, weight_decay=0.05),
        lambda: adamw(0.05),
    ),
}


@pytest.mark.parametrize("fisher", [None, FISHER])
@pytest.mark.parametrize("anchor", [None, START])
def test_value_and_gradient(anchor, fisher):
    weight = keras.Variable(WEIGHT)
    regularizer = L2SP(STRENGTH, anchor, fisher)
    difference = WEIGHT - (0 if anchor is None else anchor)
    factor = 1 if fisher is None else fisher
    with tf.GradientTape() as tape:
        value = 2.0 * regularizer(weight)
    np.testing.assert_allclose(
        value, 2 * STRENGTH * np.sum(factor * difference**2), rtol=1e-6
    )
    np.testing.assert_allclose(
        tape.gradient(value, weight.value),
        4 * STRENGTH * factor * difference,
        rtol=1e-6,
    )


def test_without_anchor_it_is_twice_the_l2_of_textbooks():
    # Keras' L2 has no factor 1/2 either.
    weight = keras.Variable(WEIGHT)
    np.testing.assert_allclose(
        L2SP(STRENGTH)(weight), keras.regularizers.L2(STRENGTH)(weight), rtol=1e-6
    )


@pytest.mark.parametrize("fisher", [None, FISHER])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_follow_the_formula(name, fisher):
    make_optimizer, make_update = OPTIMIZERS[name]
    model, kernel = make_model()
    kernel.regularizer = L2SP(STRENGTH, anchor_of(kernel), fisher)
    factor = 1.0 if fisher is None else fisher
    expected = expected_weights(make_update(), fisher=factor)
    found = train(model, make_optimizer())
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    free = expected_weights(make_update(), strength=0.0)
    assert np.abs(expected - free).max() > 1e-3


def test_decoupled_steps_follow_the_formula():
    model, kernel = make_model()
    kernel.update_rule = kmmft.training.UpdateRule(
        l2_sp=STRENGTH, anchor=anchor_of(kernel), weight_decay=0.0
    )
    step = adamw()

    def update(weight, gradient):
        return step(weight - 0.1 * STRENGTH * (weight - START), gradient)

    expected = expected_weights(update, strength=0.0)
    found = train(model, kmmft.training.AdamW(0.1))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("decoupled", [False, True])
def test_two_replicas_equal_one_device(two_replicas, decoupled):
    def run():
        model, kernel = make_model()
        if decoupled:
            kernel.update_rule = kmmft.training.UpdateRule(
                l2_sp=STRENGTH, anchor=anchor_of(kernel)
            )
        else:
            kernel.regularizer = L2SP(STRENGTH, anchor_of(kernel), FISHER)
        return model, kmmft.training.AdamW(0.1)

    expected = train(*run())
    with two_replicas.scope():
        model, optimizer = run()
    np.testing.assert_allclose(train(model, optimizer), expected, rtol=1e-5, atol=1e-6)


def test_an_anchor_is_on_the_devices_of_its_weight(two_replicas):
    with two_replicas.scope():
        weight = keras.Variable(WEIGHT)
    anchor = anchor_of(weight)  # made outside of the scope
    assert len(two_replicas.experimental_local_results(anchor.value)) == 2
    assert not anchor.trainable


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    model, kernel = make_model()
    kernel.regularizer = L2SP(STRENGTH, anchor_of(kernel))
    kernel.assign(WEIGHT)
    (loss,) = model.losses
    assert loss.dtype == tf.float32
    expected = STRENGTH * np.sum((WEIGHT - START).astype("float64") ** 2)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    kernel.assign(START)
    optimizer = kmmft.training.SGD(0.1)
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, 64)
    found = train(model, optimizer)
    # Products in half precision are off by up to 2^-8 (bfloat16).
    np.testing.assert_allclose(found, expected_weights(sgd), atol=0.02)


def test_weights_in_half_precision_are_squared_in_float32():
    # 300^2 is no float16.
    weight = keras.Variable(np.full((4, 3), 300.0), dtype="float16")
    np.testing.assert_allclose(L2SP(1.0)(weight), 12 * 300.0**2)


def test_the_start_is_the_pretrained_weight(tmp_path):
    pretrained, _ = make_model(WEIGHT)
    pretrained.save_weights(tmp_path / "pretrained.weights.h5")
    model, kernel = make_model(START)
    model.load_weights(tmp_path / "pretrained.weights.h5")
    kernel.regularizer = L2SP(STRENGTH, anchor_of(kernel))
    with tf.GradientTape() as tape:
        (loss,) = model.losses
    assert float(loss) == 0.0
    np.testing.assert_array_equal(tape.gradient(loss, kernel.value), 0.0)
    kernel.assign_add(np.full((4, 3), 0.5))
    np.testing.assert_allclose(model.losses[0], STRENGTH * 12 * 0.25, rtol=1e-6)


def test_it_works_within_a_compiled_step_and_in_micro_batches():
    weights = []
    for options in ({"jit_compile": True}, {}):
        model, kernel = make_model()
        kernel.regularizer = L2SP(STRENGTH, anchor_of(kernel), FISHER)
        model.micro_batch_size = None if options else 2
        model.compile(kmmft.training.SGD(0.1), "mse", **options)
        for x, y in zip(X, Y, strict=True):
            model.train_on_batch(x, y)
        weights.append(kernel.numpy())
    for found in weights:
        np.testing.assert_allclose(
            found, expected_weights(sgd, fisher=FISHER), rtol=1e-4, atol=1e-5
        )


def test_a_frozen_weight_has_no_term():
    model, kernel = make_model()
    kernel.regularizer = L2SP(STRENGTH)
    assert len(model.losses) == 1
    model.get_layer("dense").trainable = False
    assert model.losses == []


def test_config():
    loaded = L2SP.from_config(L2SP(0.2).get_config())
    assert loaded.strength == 0.2
    with pytest.raises(ValueError, match="config cannot hold weights"):
        L2SP(0.2, START).get_config()


def test_bad_inputs():
    weight = keras.Variable(WEIGHT)
    with pytest.raises(ValueError, match="`strength` must not be negative"):
        L2SP(-0.1)
    with pytest.raises(ValueError, match="`fisher` must not be negative"):
        L2SP(0.1, fisher=-FISHER)
    with pytest.raises(ValueError, match="must have the weight's shape"):
        L2SP(0.1, START[:2])(weight)
    with pytest.raises(ValueError, match="`fisher` must have the weight's shape"):
        L2SP(0.1, START, FISHER.T)(weight)
    # Keras makes a variable of a variable's value an alias of it.
    with pytest.raises(ValueError, match="must be a copy"):
        L2SP(0.1, keras.Variable(weight.value))(weight)
