"""The duties that every fusion has."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kmmft import layers
from tests.layers.fusion_cases import (
    CASES,
    DIMS,
    make,
    make_built,
    make_features,
    shared,
    shared_fresh,
)
from tests.layers.references import randomize

every_fusion = pytest.mark.parametrize("case", CASES)
TOKENS_READ = {
    case: [name for name in DIMS if make(case).source(name) == "tokens"]
    for case in CASES
}


def spoil(features, name, rows=slice(None), value=np.nan):
    """Fills what a modality of some examples holds with `value`."""
    spoiled = {key: dict(feature) for key, feature in features.items()}
    for key in ("pooled", "tokens"):
        spoiled[name][key] = spoiled[name][key].copy()
        spoiled[name][key][rows] = value
    return spoiled


def functional_model(layer):
    features = {
        name: {
            "pooled": keras.Input((dim,), name=f"{name}_pooled"),
            "tokens": keras.Input((None, dim), name=f"{name}_tokens"),
            "mask": keras.Input((None,), dtype="bool", name=f"{name}_mask"),
        }
        for name, dim in DIMS.items()
    }
    present = {"text": keras.Input((), dtype="bool", name="text_present")}
    outputs = layer(features, present=present)
    return keras.Model({"features": features, "present": present}, outputs)


# === Keras ===
@every_fusion
def test_functional_model_round_trip(case, tmp_path):
    layer = make(case, modality_dropout_rate=0.1, dropout_rate=0.1, seed=3)
    model = functional_model(layer)
    assert model.output_shape == (None, layer.output_dim)
    randomize(layer)
    features, present = make_features(), {"text": np.array([True, False, True])}
    expected = model({"features": features, "present": present})
    np.testing.assert_allclose(layer(features, present=present), expected)

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_layer(layer.name).get_config() == layer.get_config()
    # Neither the order of dicts nor a length other than before may matter.
    backwards = dict(reversed(make_features(2, seed=1).items()))
    batch = {"present": {"text": np.array([True, False])}, "features": backwards}
    np.testing.assert_array_equal(loaded(batch), model(batch))
    np.testing.assert_array_equal(
        loaded({"features": features, "present": present}), expected
    )


@every_fusion
def test_graph_xla_and_the_empty_batch(case):
    layer = shared(case)
    features, present = make_features(), {"image": np.array([True, False, True])}
    expected = layer(features, present=present)
    for jit_compile in (False, True):
        # The optimized graph is a third way of computing, with faults of its own.
        compiled = tf.function(layer, jit_compile=jit_compile)
        outputs = compiled(features, present=present)
        np.testing.assert_allclose(outputs, expected, atol=1e-4, rtol=1e-4)
    assert layer(make_features(0)).shape == (0, layer.output_dim)


@pytest.mark.parametrize(
    "policy, case",
    [("mixed_float16", case) for case in CASES]
    + [("mixed_bfloat16", case) for case in ("mfb", "film", "merged")],
)
def test_mixed_precision(policy, case):
    exact = shared_fresh(case)
    expected = exact(make_features())
    mixed = make(case, dtype=policy, dropout_rate=0.1)
    mixed(make_features())
    mixed.set_weights(exact.get_weights())
    outputs = mixed(make_features(), present={"text": np.ones(3, bool)})
    assert outputs.dtype == policy.removeprefix("mixed_")
    assert {v.dtype for v in mixed.trainable_variables} == {"float32"}
    np.testing.assert_allclose(np.asarray(outputs, "float32"), expected, atol=0.05)


@every_fusion
def test_trains_every_weight(case):
    layer = make(case, modality_dropout_rate=0.2, dropout_rate=0.1)
    features = make_features(8)
    present = {"image": np.arange(8) != 3, "text": np.arange(8) != 5}
    layer(features)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(features, present=present, training=True))
    gradients = tape.gradient(loss, layer.trainable_variables)
    for variable, gradient in zip(layer.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path

    # A short step down the gradient takes off what the gradient says.
    target = np.eye(8, dtype="float32")

    def loss():
        return tf.reduce_mean((layer(features) - target) ** 2)

    with tf.GradientTape() as tape:
        before = loss()
    gradients = tape.gradient(before, layer.trainable_variables)
    square = sum(float(tf.reduce_sum(gradient**2)) for gradient in gradients)
    rate = 1e-2 * float(before) / square
    for variable, gradient in zip(layer.trainable_variables, gradients, strict=True):
        variable.assign_sub(rate * gradient)
    np.testing.assert_allclose(1 - loss() / before, 1e-2, rtol=0.2)


def test_weights_are_made_in_the_order_of_names():
    shapes = {"text": {"pooled": (None, 4)}, "image": {"pooled": (None, 6)}}
    layer = layers.ConcatFusion(8)
    layer.build(shapes)
    assert [w.shape for w in layer.weights[:2]] == [(6,), (4,)]


# === Masks ===
@every_fusion
def test_padding_cannot_be_seen(case):
    layer = shared(case)
    features = make_features()
    expected = layer(features)
    padding = (slice(None), slice(3, None))
    real = (slice(None), slice(2, 3))
    for name in DIMS:
        np.testing.assert_array_equal(
            layer(_set_tokens(features, name, padding, np.nan)), expected
        )
        seen = np.abs(layer(_set_tokens(features, name, real, 3.0)) - expected).max()
        assert (seen > 1e-3) == (name in TOKENS_READ[case])


def _set_tokens(features, name, where, value):
    tokens = features[name]["tokens"].copy()
    tokens[where] = value
    return {**features, name: {**features[name], "tokens": tokens}}


@every_fusion
def test_padding_may_be_of_any_length_and_tokens_in_any_order(case):
    layer = shared(case)
    features = make_features()
    order = [4, 2, 0, 3, 1]
    cut, shuffled = {}, {}
    for name, feature in features.items():
        arrays = {"tokens": feature["tokens"], "mask": feature["mask"]}
        cut[name] = {**feature, **{k: v[:, :3] for k, v in arrays.items()}}
        shuffled[name] = {**feature, **{k: v[:, order] for k, v in arrays.items()}}
    np.testing.assert_allclose(layer(cut), layer(features), atol=1e-5)
    np.testing.assert_allclose(layer(shuffled), layer(features), atol=1e-5)


# === Missing modalities ===
@every_fusion
@pytest.mark.parametrize("name", DIMS)
def test_absent_input_cannot_be_seen(case, name):
    layer = shared(case)
    features, here = make_features(), np.array([True, False, True])
    outputs = layer(features, present={name: here})
    for value in (7.0, np.nan, np.inf):
        spoiled = spoil(features, name, ~here, value)
        np.testing.assert_array_equal(layer(spoiled, present={name: here}), outputs)
    spoiled[name]["mask"] = here[:, None] & features[name]["mask"]
    np.testing.assert_array_equal(layer(spoiled, present={name: here}), outputs)
    # A mask without any real token says the same as `present`.
    np.testing.assert_array_equal(layer(spoiled), outputs)
    # Nor does the length of what is not there count.
    nobody = {name: np.zeros(3, bool)}
    for key in ("tokens", "mask"):
        spoiled[name][key] = spoiled[name][key][:, :2]
    np.testing.assert_allclose(
        layer(spoiled, present=nobody), layer(features, present=nobody), atol=1e-5
    )
    full = layer(features)
    np.testing.assert_allclose(outputs[::2], full[::2], atol=1e-6)
    assert np.abs(outputs[1] - full[1]).max() > 1e-3


@every_fusion
@pytest.mark.parametrize("name", DIMS)
def test_gradient_flows_to_the_replacement_past_nan(case, name):
    layer = shared(case)
    features = tf.nest.map_structure(
        tf.constant, spoil(make_features(), name, slice(0, 1))
    )
    inputs = [f[key] for f in features.values() for key in ("pooled", "tokens")]
    present = {name: np.array([False, True, True])}
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(features, present=present)
        loss = tf.reduce_sum(outputs * np.arange(1.0, 9.0, dtype="float32"))
    variables = layer.trainable_variables
    gradients, input_gradients = tape.gradient(
        loss, [variables, inputs], unconnected_gradients="zero"
    )
    for gradient in (*gradients, *input_gradients):
        assert np.isfinite(gradient).all()
    replacements = {v.path: g for v, g in zip(variables, gradients, strict=True)}
    for modality in DIMS:
        path = f"{layer.name}/{modality}_replacement"
        assert np.any(replacements[path]) == (modality == name)
    absent = [
        g for g, x in zip(input_gradients, inputs, strict=True) if np.isnan(x[0]).any()
    ]
    assert len(absent) == 2 and not any(np.any(gradient[0]) for gradient in absent)


@every_fusion
def test_gradients_are_finite_at_zero(case):
    layer = shared_fresh(case)
    features = tf.nest.map_structure(tf.constant, make_features())
    zeros = {
        name: {**f, "pooled": f["pooled"] * 0, "tokens": f["tokens"] * 0}
        for name, f in features.items()
    }
    assert not np.any(layer.projections["image"].bias)
    inputs = [f[key] for f in zeros.values() for key in ("pooled", "tokens")]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(zeros)
    gradients = tape.gradient(outputs, [*inputs, *layer.trainable_variables])
    assert np.isfinite(outputs).all()
    assert all(np.isfinite(g).all() for g in gradients if g is not None)


@every_fusion
def test_modality_dropout_hides_all_but_one(case):
    layer = shared(case)
    one = make_features(1)
    features = tf.nest.map_structure(lambda x: np.repeat(x, 64, axis=0), one)
    patterns = [
        layer(one, present={"image": np.array([image]), "text": np.array([text])})
        for image, text in ((True, True), (True, False), (False, True))
    ]
    outputs = layer(features, training=True)
    distances = np.abs(outputs[:, None] - np.concatenate(patterns)).max(-1)
    np.testing.assert_allclose(distances.min(1), 0.0, atol=1e-4)
    assert set(distances.argmin(1)) == {0, 1, 2}
    np.testing.assert_allclose(layer(features)[:1], patterns[0], atol=1e-5)
    np.testing.assert_allclose(
        layer(features, present={"image": np.zeros(64, bool)}, training=True),
        np.repeat(patterns[2], 64, axis=0),
        atol=1e-5,
    )


# === Any number and kind of modalities ===
@pytest.mark.parametrize("case", [c for c in CASES if c != "film"])
def test_three_modalities_one_of_them_a_table_row(case):
    features = make_features()
    row = np.random.default_rng(5).normal(size=(3, 2)).astype("float32")
    features["table"] = {"pooled": row}
    layer = make_built(case, features)
    outputs = layer(features)
    assert outputs.shape == (3, 8)
    features["table"] = {"pooled": row + 1}
    assert np.abs(layer(features) - outputs).max() > 1e-3


@pytest.mark.parametrize("case", ["concat", "gated", "merged", "bottleneck", "tensor"])
def test_one_modality(case):
    features = make_features(dims={"image": 6})
    layer = make_built(case, features)
    assert np.isfinite(layer(features)).all()


# === Errors ===
@pytest.mark.parametrize("case", ["mlb", "mfb", "one_way", "two_way"])
def test_too_few_modalities_are_named(case):
    with pytest.raises(ValueError, match=r"at least 2 modalities.*\['text'\]"):
        make(case)(make_features(dims={"text": 4}))


def test_film_takes_exactly_two():
    message = r"exactly 2 modalities.*\['audio', 'image', 'text'\]"
    with pytest.raises(ValueError, match=message):
        make("film")(make_features(dims={**DIMS, "audio": 3}))


@pytest.mark.parametrize("case, role", [("film", "condition"), ("one_way", "query")])
def test_roles_must_name_a_modality(case, role):
    with pytest.raises(ValueError, match=rf"{role}='sound'.*\['image', 'text'\]"):
        make(case, **{role: "sound"})(make_features())


def test_modalities_other_than_built_are_named():
    layer = shared("concat")
    with pytest.raises(ValueError, match=r"Received: \['image'\]"):
        layer({"image": make_features()["image"]})
    with pytest.raises(ValueError, match=r"Received: \['sound'\]"):
        layer(make_features(), present={"sound": np.ones(3, bool)})


def test_wrong_features_are_named():
    with pytest.raises(ValueError, match="takes a dict from modality name"):
        make("concat")(np.ones((2, 3)))
    with pytest.raises(ValueError, match="takes a dict from modality name"):
        make("concat")({"image": np.ones((2, 3))})
    with pytest.raises(ValueError, match=r"'pooled' output.*'image'.*\['tokens'\]"):
        make("concat")({"image": {"tokens": np.ones((2, 5, 3))}})


@pytest.mark.parametrize(
    "case, arguments",
    [
        ("concat", {"modality_dropout_rate": 1.0}),
        ("mfb", {"factor": 0}),
        ("film", {"num_layers": 0}),
        ("one_way", {"num_layers": 0}),
        ("merged", {"num_bottleneck_tokens": -1}),
        ("bottleneck", {"num_layers": 1}),
    ],
)
def test_wrong_numbers_are_named(case, arguments):
    name, value = next(iter(arguments.items()))
    with pytest.raises(ValueError, match=f"Received: .*{name}={value}"):
        make(case, **arguments)


@pytest.mark.parametrize("case", ["one_way", "merged"])
def test_heads_must_divide_the_width(case):
    with pytest.raises(ValueError, match="num_heads=3, hidden_dim=8"):
        make(case, num_heads=3)(make_features())
