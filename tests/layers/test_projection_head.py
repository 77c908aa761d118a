import keras
import numpy as np
import pytest
import tensorflow as tf

from kmmft.layers import ProjectionHead
from tests.layers import references

INPUTS = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")


def test_linear_head_is_one_matrix():
    head = ProjectionHead(4, use_bias=False)
    outputs = head(INPUTS)
    assert len(head.weights) == 1
    np.testing.assert_allclose(outputs, INPUTS @ head.weights[0].numpy(), atol=1e-6)


def test_mlp_equals_its_equation():
    head = ProjectionHead(4, hidden_dims=(6, 7), normalize=True)
    head(INPUTS)
    references.randomize(head)
    x = INPUTS
    for dense in head.hidden:
        x = references.gelu(references.dense(dense, x))
    x = references.dense(head.output_projection, x)
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    np.testing.assert_allclose(head(INPUTS), x, atol=1e-5)


def test_zero_vector_stays_zero_with_finite_gradients():
    head = ProjectionHead(4, normalize=True)
    inputs = tf.zeros((2, 5))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = head(inputs)
        loss = tf.reduce_sum(outputs)
    np.testing.assert_array_equal(outputs, np.zeros((2, 4)))
    for gradient in tape.gradient(loss, [inputs, *head.trainable_variables]):
        assert np.isfinite(gradient).all()


def test_float16_norm_does_not_overflow():
    head = ProjectionHead(4, normalize=True, dtype="mixed_float16")
    outputs = head(1000 * INPUTS)
    assert outputs.dtype == "float16"
    lengths = np.linalg.norm(np.asarray(outputs, "float32"), axis=-1)
    np.testing.assert_allclose(lengths, 1.0, atol=2e-3)


def test_dropout_acts_on_hidden_layers_in_training_only():
    head = ProjectionHead(4, hidden_dims=(64,), dropout_rate=0.5)
    still = head(INPUTS)
    np.testing.assert_array_equal(head(INPUTS), still)
    assert np.abs(head(INPUTS, training=True) - still).max() > 1e-3


def test_functional_model_round_trip(tmp_path):
    inputs = keras.Input((None, 5))
    head = ProjectionHead(4, hidden_dims=(6, 7), dropout_rate=0.1, normalize=True)
    model = keras.Model(inputs, head(inputs))
    assert model.output_shape == (None, None, 4)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layers[-1].get_config() == head.get_config()
    np.testing.assert_array_equal(loaded(INPUTS[:, None]), model(INPUTS[:, None]))


def test_widths_must_be_positive():
    with pytest.raises(ValueError, match=r"hidden_dims=\(0,\)"):
        ProjectionHead(4, hidden_dims=(0,))
