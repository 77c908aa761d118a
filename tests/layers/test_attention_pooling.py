import keras
import numpy as np
import pytest
import tensorflow as tf

from kmmft.layers import AttentionPooling
from tests.layers import references

TOKENS = np.random.default_rng(0).normal(size=(3, 4, 6)).astype("float32")
MASK = np.array([[1, 1, 1, 0], [1, 0, 1, 1], [0, 0, 0, 0]], bool)


@pytest.fixture(scope="module")
def layer():
    layer = AttentionPooling(num_heads=2, hidden_dim=5)
    layer(TOKENS)
    references.randomize(layer)
    return layer


def reference(layer, tokens, mask):
    query = references.value(layer.query)[0]
    attended = references.attention(layer.attention, query, tokens, mask)
    h = references.layer_norm(layer.attention_norm, query + attended)
    hidden = references.relu(references.dense(layer.hidden, h))
    fed = references.dense(layer.output_projection, hidden)
    return references.layer_norm(layer.output_norm, h + fed)[0]


def test_equals_the_papers_equation(layer):
    pooled = layer(TOKENS, mask=MASK)
    for index in range(2):
        expected = reference(layer, TOKENS[index], MASK[index])
        np.testing.assert_allclose(pooled[index], expected, atol=1e-5)


def test_padding_cannot_be_seen_and_no_token_gives_zeros(layer):
    tokens = np.where(MASK[..., None], TOKENS, np.nan)
    np.testing.assert_array_equal(layer(tokens, mask=MASK), layer(TOKENS, mask=MASK))
    assert not np.any(layer(tokens, mask=MASK)[2])


def test_order_of_tokens_does_not_matter(layer):
    order = [3, 1, 0, 2]
    shuffled = layer(TOKENS[:, order], mask=MASK[:, order])
    np.testing.assert_allclose(shuffled, layer(TOKENS, mask=MASK), atol=1e-6)


def test_gradients_are_finite_with_nan_in_padding(layer):
    with tf.GradientTape() as tape:
        tokens = np.where(MASK[..., None], TOKENS, np.nan)
        loss = tf.reduce_sum(layer(tokens, mask=MASK) ** 2)
    for gradient in tape.gradient(loss, layer.trainable_variables):
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(layer, policy):
    mixed = AttentionPooling(num_heads=2, hidden_dim=5, dropout_rate=0.1, dtype=policy)
    mixed(TOKENS)
    mixed.set_weights(layer.get_weights())
    pooled = mixed(TOKENS, mask=MASK)
    assert pooled.dtype == mixed.compute_dtype
    np.testing.assert_allclose(
        np.asarray(pooled, "float32"), layer(TOKENS, mask=MASK), atol=0.1
    )


def test_functional_model_round_trip(tmp_path):
    tokens = keras.Input((None, 6))
    mask = keras.Input((None,), dtype="bool")
    layer = AttentionPooling(num_heads=3, activation="gelu")
    model = keras.Model([tokens, mask], layer(tokens, mask=mask))
    references.randomize(layer)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.output_shape == (None, 6)
    np.testing.assert_array_equal(loaded([TOKENS, MASK]), model([TOKENS, MASK]))


def test_several_queries_each_pool_alone(layer):
    several = AttentionPooling(num_heads=2, hidden_dim=5, num_queries=3)
    assert several(TOKENS).shape == (*TOKENS.shape[:1], 3, 6)
    own = {weight.path.split("/", 1)[1]: weight for weight in layer.weights}
    queries = np.random.default_rng(0).normal(size=(1, 3, 6))
    for weight in several.weights:
        name = weight.path.split("/", 1)[1]
        weight.assign(queries if name == "query" else own[name])
    pooled = several(TOKENS, mask=MASK)
    for place in range(3):
        layer.query.assign(queries[:, place : place + 1])
        np.testing.assert_allclose(
            pooled[:, place], layer(TOKENS, mask=MASK), atol=1e-6
        )
    with pytest.raises(ValueError, match="num_queries=0"):
        AttentionPooling(num_heads=2, num_queries=0)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="num_heads=4"):
        AttentionPooling(num_heads=4)(TOKENS)
