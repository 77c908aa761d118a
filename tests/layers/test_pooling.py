import keras
import numpy as np
import pytest
import tensorflow as tf

from kmmft.layers import Pooling
from kmmft.layers.pooling import MODES

TOKENS = np.array(
    [[[1.0, -5.0], [3.0, -1.0], [9.0, 9.0]], [[-2.0, 4.0]] * 3, [[7.0, 7.0]] * 3],
    "float32",
)
MASK = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]], bool)
EXPECTED = {
    "cls": [[1.0, -5.0], [-2.0, 4.0], [0.0, 0.0]],
    "last": [[3.0, -1.0], [-2.0, 4.0], [0.0, 0.0]],
    "mean": [[2.0, -3.0], [-2.0, 4.0], [0.0, 0.0]],
    "max": [[3.0, -1.0], [-2.0, 4.0], [0.0, 0.0]],
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", [0.0, 1e30, np.inf, np.nan])
def test_hand_values_whatever_the_padding_holds(mode, padding):
    tokens = np.where(MASK[..., None], TOKENS, np.float32(padding))
    np.testing.assert_allclose(Pooling(mode)(tokens, mask=MASK), EXPECTED[mode])


@pytest.mark.parametrize("mode", MODES)
def test_without_mask_all_tokens_are_real(mode):
    reference = {
        "cls": TOKENS[:, 0],
        "last": TOKENS[:, -1],
        "mean": TOKENS.mean(1),
        "max": TOKENS.max(1),
    }
    np.testing.assert_allclose(Pooling(mode)(TOKENS), reference[mode], rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_gradients_are_finite_and_spare_the_padding(mode):
    tokens = tf.Variable(np.where(MASK[..., None], TOKENS, np.nan))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(Pooling(mode)(tokens, mask=MASK))
    gradient = tape.gradient(loss, tokens).numpy()
    assert np.isfinite(gradient).all()
    assert (gradient[~MASK] == 0).all() and gradient[0].any()


@pytest.mark.parametrize("mode", MODES)
def test_float16_does_not_overflow(mode):
    tokens = np.full((1, 3000, 2), 100.0)
    pooled = Pooling(mode, dtype="mixed_float16")(tokens, mask=np.ones((1, 3000), bool))
    assert pooled.dtype == "float16"
    np.testing.assert_allclose(pooled, [[100.0, 100.0]])


def test_keras_mask_is_used_where_none_is_given():
    embedding = keras.layers.Embedding(5, 2, mask_zero=True)
    tokens = embedding(np.array([[1, 2, 0, 0]]))
    np.testing.assert_allclose(
        Pooling("mean")(tokens), np.mean(tokens[:, :2], axis=1), rtol=1e-6
    )


@pytest.mark.parametrize("mode", MODES)
def test_functional_model_round_trip(mode, tmp_path):
    tokens = keras.Input((None, 2))
    mask = keras.Input((None,), dtype="bool")
    model = keras.Model([tokens, mask], Pooling(mode)(tokens, mask=mask))
    assert model.output_shape == (None, 2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded([TOKENS, MASK]), EXPECTED[mode])


def test_unknown_mode_is_named():
    with pytest.raises(ValueError, match="mode='first'"):
        Pooling("first")
