"""Weights between two models, against eq. 1 of WiSE-FT in NumPy."""

import keras
import ml_dtypes
import numpy as np
import pytest

import kmmft
from kmmft.finetuning import interpolate_weights, weight_values, wise_ft

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 3)).astype("float32")
Y = RNG.normal(size=(8, 1)).astype("float32")


class Model(kmmft.training.DistributedTraining, keras.Model):
    pass


class Counter(keras.layers.Layer):
    """Has a weight that is no floating-point number."""

    def build(self, shape):
        self.calls = self.add_weight(
            shape=(), dtype="int32", initializer="zeros", trainable=False, name="calls"
        )

    def call(self, x):
        return x


def make_model():
    inputs = keras.Input((3,))
    x = keras.layers.Dense(4, name="backbone")(inputs)
    x = Counter(name="counter")(keras.layers.BatchNormalization(name="norm")(x))
    x = keras.layers.Dropout(0.5, name="drop")(x)
    return Model(inputs, keras.layers.Dense(1, name="head", dtype="float32")(x))


def train(model, steps=3, rate=0.1):
    with model.distribute_strategy.scope():
        model.compile(kmmft.training.AdamW(rate), "mse")
    model.fit(X, Y, batch_size=8, epochs=steps, shuffle=False, verbose=0)
    model.get_layer("counter").calls.assign(steps)


def tuned():
    model = make_model()
    start = weight_values(model)
    train(model)
    return model, start, weight_values(model)


def assert_same(found, expected):
    for path, value in expected.items():
        np.testing.assert_array_equal(found[path], value, err_msg=path)


def test_weight_values_are_copies():
    model = make_model()
    values = weight_values(model)
    before = {path: value.copy() for path, value in values.items()}
    train(model)
    assert_same(values, before)
    assert sorted(values) == [
        "backbone/bias",
        "backbone/kernel",
        "counter/calls",
        "head/bias",
        "head/kernel",
        "norm/beta",
        "norm/gamma",
        "norm/moving_mean",
        "norm/moving_variance",
    ]


def test_follows_the_equation():
    model, start, end = tuned()
    for alpha in (0.0, 0.3, 1.0):
        interpolate_weights(model, start, end, alpha)
        values = weight_values(model)
        assert values.pop("counter/calls") == 3
        for path, value in values.items():
            first, last = (v[path].astype("float64") for v in (start, end))
            assert np.abs(first - last).max() > 1e-3, path
            expected = (1 - alpha) * first + alpha * last
            np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-7)


def test_ends_are_bitwise():
    model, start, end = tuned()
    # What is not finite at the one end says nothing about the other.
    start["head/bias"] = np.array([np.inf], "float32")
    interpolate_weights(model, start, end, 1.0)
    assert_same(weight_values(model), end)
    end["head/kernel"] = np.full((4, 1), np.nan, "float32")
    interpolate_weights(model, start, end, 0.0)
    assert_same(weight_values(model), start | {"counter/calls": np.int32(3)})


def test_half_precision_weights_are_mixed_in_float32():
    keras.config.set_dtype_policy("bfloat16")
    model = keras.Sequential([keras.Input((50,)), keras.layers.Dense(9, name="a")])
    start = weight_values(model)
    noise = {path: RNG.normal(size=v.shape) for path, v in start.items()}
    end = {path: v.astype(ml_dtypes.bfloat16) for path, v in noise.items()}
    interpolate_weights(model, start, end, 0.3)
    first, last = start["a/kernel"], end["a/kernel"]
    exact = 0.7 * first.astype("float64") + 0.3 * last.astype("float64")
    found = weight_values(model)["a/kernel"]
    assert found.dtype == ml_dtypes.bfloat16
    # But for near ties, which float32 may break otherwise.
    assert np.mean(exact.astype(ml_dtypes.bfloat16) != found) < 0.01
    share = ml_dtypes.bfloat16(0.3)
    rounded = (ml_dtypes.bfloat16(1) - share) * first + share * last
    assert np.mean(rounded != found) > 0.1


def test_mixed_float16():
    keras.config.set_dtype_policy("mixed_float16")
    model, start, end = tuned()
    interpolate_weights(model, start, end, 0.25)
    kernel = weight_values(model)["backbone/kernel"]
    assert kernel.dtype == np.float32
    expected = 0.75 * start["backbone/kernel"] + 0.25 * end["backbone/kernel"]
    np.testing.assert_allclose(kernel, expected, rtol=1e-6)


def test_all_replicas_get_the_weights(two_replicas):
    with two_replicas.scope():
        model = make_model()
    start = weight_values(model)
    end = {path: RNG.uniform(size=v.shape) for path, v in start.items()}
    interpolate_weights(model, end, end, 1.0)
    end = weight_values(model)
    interpolate_weights(model, start, end, 0.25)
    for path, variable in kmmft.finetuning.named_variables(model).items():
        expected = 0.75 * start[path] + 0.25 * end[path]
        copies = two_replicas.experimental_local_results(variable.value)
        assert len(copies) == 2
        for copy in copies if path != "counter/calls" else ():
            np.testing.assert_allclose(copy.numpy(), expected, rtol=1e-6, atol=1e-7)
    rows = wise_ft(
        model,
        start,
        lambda model: {"loss": float(np.mean((model(X) - Y) ** 2))},
        choose="loss",
        alphas=[0, 0.5, 1],
    )
    best = min(row["loss"] for row in rows)
    assert np.mean((model(X) - Y) ** 2) == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_outside_is_an_error(alpha):
    model = make_model()
    values = weight_values(model)
    with pytest.raises(ValueError, match=r"`alpha` must be in \[0, 1\]"):
        interpolate_weights(model, values, values, alpha)


@pytest.mark.parametrize("name", ["start", "end"])
@pytest.mark.parametrize("fault", ["missing", "unknown", "shape"])
def test_other_weights_are_an_error(name, fault):
    model = make_model()
    start, end = weight_values(model), weight_values(model)
    wrong = start if name == "start" else end
    if fault == "missing":
        del wrong["head/kernel"]
    else:
        path = "other" if fault == "unknown" else "head/kernel"
        wrong[path] = np.zeros((5, 1))
    before = weight_values(model)
    with pytest.raises(ValueError, match=rf"`{name}` must hold .*(head/kernel|other)"):
        interpolate_weights(model, start, end, 0.5)
    assert_same(weight_values(model), before)


# === The search ===


def line_model():
    """One weight, which is 0 at the start and 1 at the end."""
    layer = keras.layers.Dense(1, use_bias=False, name="line")
    model = keras.Sequential([keras.Input((1,)), layer])
    layer.kernel.assign([[0.0]])
    start = weight_values(model)
    layer.kernel.assign([[1.0]])
    return model, start


def position(model):
    return float(model.get_layer("line").kernel.numpy().item())


def two_accuracies(model):
    """Peaks at 0.6, and falls from the start on."""
    alpha = position(model)
    return {
        "target_accuracy": 1 - (alpha - 0.6) ** 2,
        "kept_accuracy": 1 - alpha,
        "target_loss": (alpha - 0.6) ** 2,
    }


def test_sweep_ends_at_the_best_alpha():
    model, start = line_model()
    rows = wise_ft(model, start, two_accuracies, choose="target_accuracy")
    assert [row["alpha"] for row in rows] == [n / 10 for n in range(11)]
    assert [row["alpha"] for row in rows if row["chosen"]] == [0.6]
    assert position(model) == pytest.approx(0.6)
    for row in rows:
        expected = 1 - (row["alpha"] - 0.6) ** 2
        assert row["target_accuracy"] == pytest.approx(expected, abs=1e-6)
        assert row["kept_accuracy"] == pytest.approx(1 - row["alpha"], abs=1e-6)


def mean_of_both(row):
    return row["target_accuracy"] + row["kept_accuracy"]


@pytest.mark.parametrize(
    ("choose", "best"),
    # The derivative of 2 - (a - .6)^2 - a is zero at 0.1.
    [("target_loss", 0.6), ("kept_accuracy", 0.0), (mean_of_both, 0.1)],
)
def test_what_chooses(choose, best):
    model, start = line_model()
    wise_ft(model, start, two_accuracies, choose=choose)
    assert position(model) == pytest.approx(best)


def test_of_equals_the_nearest_to_the_start():
    model, start = line_model()
    alphas = [1.0, 0.5, 0.25]
    wise_ft(
        model,
        start,
        lambda model: {"accuracy": float(position(model) > 0.3)},
        choose="accuracy",
        alphas=alphas,
    )
    assert position(model) == 0.5
    assert alphas == [1.0, 0.5, 0.25]


def test_no_number_is_never_chosen():
    model, start = line_model()

    def evaluate(model):
        return {"loss": position(model) or float("nan")}

    wise_ft(model, start, evaluate, choose="loss", alphas=[0, 0.5, 1])
    assert position(model) == 0.5


def test_trained_model_moves_between_its_losses():
    model, start, end = tuned()
    ends = []
    for values in (start, end):
        interpolate_weights(model, values, values, 1.0)
        ends.append(model.evaluate(X, Y, verbose=0))
    interpolate_weights(model, end, end, 1.0)
    rows = wise_ft(
        model,
        start,
        lambda model: {"loss": model.evaluate(X, Y, verbose=0)},
        choose="loss",
        alphas=[0, 0.5, 1],
    )
    assert [rows[0]["loss"], rows[2]["loss"]] == pytest.approx(ends, rel=1e-6)
    best = min(row["loss"] for row in rows)
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(best, rel=1e-6)


def interrupted(model):
    if position(model) > 0.4:
        raise KeyboardInterrupt
    return {"accuracy": 1.0}


@pytest.mark.parametrize(
    ("evaluate", "choose", "alphas", "error", "match"),
    [
        (interrupted, "accuracy", None, KeyboardInterrupt, None),
        (two_accuracies, "acuracy", None, ValueError, "must name a measure.*'acuracy'"),
        (two_accuracies, "alpha", None, ValueError, "must name a measure"),
        (two_accuracies, "kept_accuracy", [], ValueError, "must be alphas"),
        (two_accuracies, "kept_accuracy", [0.5, 2], ValueError, "in .0, 1.*alpha=2"),
        (lambda model: {"a": float("nan")}, "a", None, ValueError, "have a score"),
    ],
)
def test_after_an_error_the_model_is_the_tuned_one(
    evaluate, choose, alphas, error, match
):
    model, start = line_model()
    with pytest.raises(error, match=match):
        wise_ft(model, start, evaluate, choose=choose, alphas=alphas)
    assert position(model) == 1.0
