"""Means of several models' weights, against NumPy and recipe 1 of the paper."""

import re

import keras
import numpy as np
import pytest

import kmmft
from kmmft.finetuning import greedy_soup, uniform_soup, weight_values

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 3)).astype("float32")
Y = RNG.normal(size=(8, 1)).astype("float32")


class Model(kmmft.training.DistributedTraining, keras.Model):
    pass


def make_model(width=4, extra=False):
    inputs = keras.Input((3,))
    x = keras.layers.Dense(width, name="backbone")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Dropout(0.5, name="drop")(x)
    if extra:
        x = keras.layers.Dense(width, name="extra")(x)
    return Model(inputs, keras.layers.Dense(1, name="head", dtype="float32")(x))


def fine_tune(model, folder, rates=(0.01, 0.05, 0.1)):
    """Files of models that were tuned from one start, and their weights."""
    start, files, values = weight_values(model), [], []
    for number, rate in enumerate(rates):
        kmmft.finetuning.interpolate_weights(model, start, start, 1.0)
        # Fresh optimizers, whose state is in the files too.
        with model.distribute_strategy.scope():
            model.compile(kmmft.training.AdamW(rate), "mse")
        model.fit(X, Y, batch_size=8, epochs=3, shuffle=False, verbose=0)
        files.append(folder / f"{number}.weights.h5")
        model.save_weights(files[-1])
        values.append(weight_values(model))
    return files, values


def assert_mean(model, values):
    for path, found in weight_values(model).items():
        expected = np.mean([v[path].astype("float64") for v in values], axis=0)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_uniform_soup_is_the_mean(policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    model = make_model()
    files, values = fine_tune(model, tmp_path)
    spread = values[0]["backbone/kernel"] - values[2]["backbone/kernel"]
    assert np.abs(spread).max() > 0.01
    uniform_soup(model, files)
    assert_mean(model, values)
    # A model that was never compiled takes them too.
    fresh = make_model()
    uniform_soup(fresh, [str(file) for file in files])
    assert_mean(fresh, values)


def test_uniform_soup_on_two_replicas(two_replicas, tmp_path):
    with two_replicas.scope():
        model = make_model()
    files, values = [], []
    for number in range(2):
        noise = {k: RNG.uniform(size=v.shape) for k, v in weight_values(model).items()}
        kmmft.finetuning.interpolate_weights(model, noise, noise, 1.0)
        files.append(tmp_path / f"{number}.weights.h5")
        model.save_weights(files[-1])
        values.append(weight_values(model))
    uniform_soup(model, files)
    assert_mean(model, values)
    kernel = model.get_layer("head").kernel.value
    first, second = two_replicas.experimental_local_results(kernel)
    np.testing.assert_array_equal(first.numpy(), second.numpy())


def test_half_precision_weights_are_averaged_in_float32(tmp_path):
    keras.config.set_dtype_policy("float16")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, name="a")])
    # The sum of two would be infinite in float16.
    files = bias_files(model, tmp_path, [40000, 40000, 40004])
    uniform_soup(model, files)
    assert bias_of(model) == np.float16(40000)


def bias_files(model, folder, values):
    files = []
    for number, value in enumerate(values):
        model.layers[-1].bias.assign([value])
        files.append(folder / f"{number}.weights.h5")
        model.save_weights(files[-1])
    return files


def bias_of(model):
    return float(model.layers[-1].bias.numpy().item())


def bias_model():
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, name="a")])


def near(target):
    return lambda model: -abs(bias_of(model) - target)


def recipe_1(values, score):
    """The paper's pseudocode, on numbers."""
    order = sorted(values, key=score, reverse=True)
    taken = []
    for value in order:
        if not taken or score(np.mean([*taken, value])) >= score(np.mean(taken)):
            taken.append(value)
    return taken


@pytest.mark.parametrize("target", [0.0, 2.0, 3.1, 5.0, 9.0])
def test_greedy_soup_is_recipe_1(target, tmp_path):
    model, values = bias_model(), [7.0, 1.0, 4.0, 9.0, 2.5]
    files = bias_files(model, tmp_path, values)
    expected = recipe_1(values, lambda value: -abs(value - target))
    rows = greedy_soup(model, files, near(target))
    assert [values[files_index(row, files)] for row in rows if row["taken"]] == expected
    assert bias_of(model) == pytest.approx(np.mean(expected), abs=1e-6)
    # By the scores alone, best first.
    scores = [row["score"] for row in rows]
    assert scores == sorted((-abs(value - target) for value in values), reverse=True)
    last = [row["soup_score"] for row in rows if row["taken"]][-1]
    assert last == pytest.approx(-abs(bias_of(model) - target), abs=1e-6)


def files_index(row, files):
    return [str(file) for file in files].index(row["file"])


def test_greedy_soup_by_hand(tmp_path):
    # Target 3: alone 2.5 (-.5), 4 (-1), 1 (-2), 7 (-4). 2.5 and 4 make 3.25 (-.25),
    # taken; with 1 it is 2.5 (-.5), not taken; with 7 it is 4.5, not taken.
    model = bias_model()
    files = bias_files(model, tmp_path, [7.0, 1.0, 4.0, 2.5])
    rows = greedy_soup(model, files, near(3.0))
    assert [row["taken"] for row in rows] == [True, True, False, False]
    assert [row["soup_score"] for row in rows] == [-0.5, -0.25, -0.5, -1.5]
    assert bias_of(model) == 3.25


def test_what_is_as_good_is_taken(tmp_path):
    model = bias_model()
    files = bias_files(model, tmp_path, [1.0, 3.0, 8.0])
    rows = greedy_soup(model, files, lambda model: 0.5)
    assert [row["taken"] for row in rows] == [True, True, True]
    assert [files_index(row, files) for row in rows] == [0, 1, 2]
    assert bias_of(model) == 4.0


def test_no_number_is_the_worst(tmp_path):
    model = bias_model()
    files = bias_files(model, tmp_path, [1.0, 2.0])
    rows = greedy_soup(
        model, files, lambda model: bias_of(model) if bias_of(model) == 2 else np.nan
    )
    assert [row["taken"] for row in rows] == [True, False]
    assert bias_of(model) == 2.0


def test_greedy_soup_of_trained_models(tmp_path):
    model = make_model()
    files, values = fine_tune(model, tmp_path)
    rows = greedy_soup(model, files, lambda model: -model.evaluate(X, Y, verbose=0))
    taken = [values[files_index(row, files)] for row in rows if row["taken"]]
    assert_mean(model, taken)
    best = max(row["score"] for row in rows)
    assert -model.evaluate(X, Y, verbose=0) >= best - 1e-6


# === What goes wrong ===


def soups(model, files):
    uniform = lambda: uniform_soup(model, files)  # noqa: E731
    return uniform, lambda: greedy_soup(model, files, lambda model: 1.0)


@pytest.mark.parametrize("kind", ["wider", "more", "fewer", "text", "missing"])
def test_file_that_does_not_fit_is_named(kind, tmp_path):
    model = make_model(extra=kind == "fewer")
    good, bad = tmp_path / "good.weights.h5", tmp_path / "bad.weights.h5"
    model.save_weights(good)
    if kind == "text":
        bad.write_text("no weights")
    elif kind != "missing":
        make_model(6 if kind == "wider" else 4, kind == "more").save_weights(bad)
    model.get_layer("head").bias.assign([5.0])
    before = weight_values(model)
    for soup in soups(model, [good, bad]):
        with pytest.raises(ValueError, match=re.escape(str(bad))):
            soup()
        for path, value in weight_values(model).items():
            np.testing.assert_array_equal(value, before[path])


def test_bad_lists_are_errors(tmp_path):
    model = bias_model()
    files = bias_files(model, tmp_path, [1.0, 2.0])
    for given, match in (
        ([], "no file"),
        ([*files, files[0]], "0.weights.h5.* more than once"),
        (str(files[0]), "must be several files"),
    ):
        for soup in soups(model, given):
            with pytest.raises(ValueError, match=match):
                soup()


def test_after_an_error_the_model_is_as_it_was(tmp_path):
    model = bias_model()
    files = bias_files(model, tmp_path, [1.0, 2.0])
    model.layers[-1].bias.assign([5.0])

    def fails(model):
        if bias_of(model) == 1.5:
            raise RuntimeError
        return 1.0

    with pytest.raises(RuntimeError):
        greedy_soup(model, files, fails)
    assert bias_of(model) == 5.0
    with pytest.raises(ValueError, match="must have a score"):
        greedy_soup(model, files, lambda model: float("nan"))
    assert bias_of(model) == 5.0
