import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from tests.layers.references import attention_block, layer_norm, randomize, value

NUMBERS = {"age": (50.0, 20.0), "dose": (0.0, 0.5)}
CATEGORIES = {"site": ["arm", "leg"], "sex": ["f", "m", "x"]}
NAN = float("nan")
# Full, partly missing with an unknown category, and empty rows.
ROWS = {
    "age": [61.0, NAN, NAN],
    "dose": [-1.0, 0.25, NAN],
    "site": ["leg", "head", ""],
    "sex": ["x", "", ""],
}
IDS = [[3, 4], [1, 0], [0, 0]]


@pytest.fixture(scope="module")
def encoder():
    keras.utils.set_random_seed(3)
    encoder = kmmft.encoders.TabularEncoder(NUMBERS, CATEGORIES, 8, 2, 2)
    randomize(encoder)
    return encoder


def raw(rows=ROWS):
    return {name: tf.constant(values) for name, values in rows.items()}


def reference_tokens(layer, numbers, ids):
    """The equations, one value after another; None for a missing number."""
    tokens = [value(layer.class_token)[0]]
    for place, (number, (mean, std)) in enumerate(
        zip(numbers, NUMBERS.values(), strict=True)
    ):
        if number is None:
            tokens.append(value(layer.missing)[place])
        else:
            scaled = (number - mean) / std * value(layer.scale)[place]
            tokens.append(scaled + value(layer.bias)[place])
    first = 0
    for place, (number, known) in enumerate(zip(ids, CATEGORIES.values(), strict=True)):
        column = len(NUMBERS) + place
        if number == 0:
            tokens.append(value(layer.missing)[column])
        else:
            row = value(layer.embeddings)[first + number]
            tokens.append(row + value(layer.bias)[column])
        first += len(known) + 2
    return np.stack(tokens)


def test_equals_the_equations_in_numpy(encoder):
    inputs = encoder.preprocess(raw())
    assert inputs["categories"].numpy().tolist() == IDS
    outputs = encoder(inputs)
    assert outputs["mask"].numpy().tolist() == [[True] * 4, [True] * 4, [False] * 4]
    layer = encoder.get_layer("feature_tokenizer")
    numbers = [[61.0, -1.0], [None, 0.25], [None, None]]
    for row in range(3):
        x = reference_tokens(layer, numbers[row], IDS[row])
        for index in range(2):
            block = encoder.get_layer(f"block_{index}")
            x = attention_block(block, x, np.ones(len(x), bool))
        x = layer_norm(encoder.get_layer("norm"), x)
        np.testing.assert_allclose(outputs["pooled"][row], x[0], atol=1e-4)
        np.testing.assert_allclose(outputs["tokens"][row], x[1:], atol=1e-4)


def test_statistics_are_those_of_the_values_that_are_there():
    random = np.random.default_rng(0)
    age = random.normal(40, 9, 50)
    age[::7] = NAN
    encoder = kmmft.encoders.TabularEncoder.from_table(
        {"age": age, "same": [0.3] * 50},
        {"site": [b"leg", "arm", "", "leg", "toe"]},
        max_categories=2,
    )
    expected = np.nanmean(age), np.nanstd(age)
    np.testing.assert_allclose(encoder.numbers["age"], expected)
    assert encoder.numbers["same"] == (pytest.approx(0.3), 1.0)
    assert encoder.categories["site"] == ["arm", "leg"]


def test_no_gradient_is_nan_and_missing_values_train(encoder):
    inputs = encoder.preprocess(raw())
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(encoder(inputs)["pooled"] ** 2)
    gradients = tape.gradient(loss, encoder.trainable_variables)
    assert all(np.isfinite(tf.convert_to_tensor(one)).all() for one in gradients)
    names = [variable.name for variable in encoder.trainable_variables]
    missing = gradients[names.index("missing")].numpy()
    assert (np.abs(missing).max(axis=1) > 0).all()


def test_infinite_numbers_count_as_missing(encoder):
    rows = {name: [values[0]] * 2 for name, values in ROWS.items()}
    one = encoder(encoder.preprocess(raw(rows | {"age": [np.inf, NAN]})))["pooled"]
    np.testing.assert_allclose(one[0], one[1], atol=1e-6)
    assert np.isfinite(one).all()
    here = encoder.has_value(raw(ROWS)).numpy().tolist()
    assert here == [True, True, False]


def test_same_in_graph_after_a_file_and_in_half_precision(encoder, tmp_path):
    encoder.save(tmp_path / "encoder.keras")
    again = keras.saving.load_model(tmp_path / "encoder.keras")
    assert again.get_config() == encoder.get_config()
    expected = encoder(encoder.preprocess(raw()))["pooled"]

    @tf.function
    def answer(columns):
        return again(again.preprocess(columns))["pooled"]

    np.testing.assert_allclose(answer(raw()), expected, atol=1e-5)
    half = kmmft.encoders.TabularEncoder.from_config(
        {**encoder.get_config(), "dtype": "mixed_bfloat16"}
    )
    half.set_weights(encoder.get_weights())
    outputs = half(half.preprocess(raw()))["pooled"]
    assert outputs.dtype == "bfloat16"
    np.testing.assert_allclose(tf.cast(outputs, "float32"), expected, atol=0.15)


@pytest.mark.parametrize(
    ("numbers", "categories", "kwargs", "reason"),
    [
        ({}, {}, {}, "columns of different names"),
        ({"a": (0.0, 1.0)}, {"a": ["x"]}, {}, r"numbers=\['a'\], categories=\['a'\]"),
        ({"a": (0.0, 0.0)}, {}, {}, r"\(0\.0, 0\.0\) for 'a'"),
        ({"a": (0.0, 1.0)}, {}, {"num_layers": 0}, "num_layers=0"),
    ],
)
def test_bad_columns(numbers, categories, kwargs, reason):
    with pytest.raises(ValueError, match=reason):
        kmmft.encoders.TabularEncoder(numbers, categories, 8, **kwargs)


@pytest.mark.parametrize(
    ("numbers", "categories", "reason"),
    [
        ({"a": [NAN]}, {}, "'a', in which all are missing"),
        ({"a": [np.inf]}, {}, "'a' with an infinite one"),
        ({}, {"c": ["", ""]}, "'c', in which all are missing"),
        ({}, {"c": ["leg", None]}, "Received: None. Give '' for a missing one"),
        ({}, {"c": ["leg", NAN]}, "Received: nan"),
    ],
)
def test_bad_tables(numbers, categories, reason):
    with pytest.raises(ValueError, match=reason):
        kmmft.encoders.TabularEncoder.from_table(numbers, categories)
