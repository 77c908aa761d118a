import keras
import numpy as np
import pytest
import tensorflow as tf

from kmmft.layers import FrameTransformer
from tests.layers import references

FRAMES = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], bool)


@pytest.fixture(scope="module")
def layer():
    layer = FrameTransformer(num_layers=2, num_heads=2)
    layer(FRAMES)
    references.randomize(layer)
    return layer


def test_equals_the_published_computation(layer):
    # CLIP4Clip, `_loose_similarity`: frames + positions, transformer, + frames.
    out = layer(FRAMES, mask=MASK)
    for index in range(2):
        x = FRAMES[index] + references.value(layer.positions)
        for block in layer.blocks.values():
            x = references.attention_block(block, x, MASK[index])
        real = MASK[index]
        expected = (FRAMES[index] + x)[real]
        np.testing.assert_allclose(out[index][real], expected, atol=2e-5)


def test_what_the_mask_leaves_out_cannot_be_seen(layer):
    other = np.where(MASK[..., None], FRAMES, np.nan)
    np.testing.assert_array_equal(
        np.asarray(layer(other, mask=MASK))[MASK],
        np.asarray(layer(FRAMES, mask=MASK))[MASK],
    )
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.boolean_mask(layer(other, mask=MASK), MASK) ** 2)
    for gradient in tape.gradient(loss, layer.trainable_variables):
        assert np.isfinite(gradient).all()


def test_the_order_of_frames_matters(layer):
    forward = np.mean(layer(FRAMES), axis=1)
    backward = np.mean(layer(FRAMES[:, ::-1]), axis=1)
    assert np.abs(forward - backward).max() > 0.1


def test_one_head_every_64_numbers():
    layers = {dim: FrameTransformer(num_layers=1) for dim in (128, 48)}
    for dim, layer in layers.items():
        layer.build((None, 3, dim))
        (block,) = layer.blocks.values()
        assert block.attention.num_heads == {128: 2, 48: 1}[dim]


def test_mixed_precision(layer):
    mixed = FrameTransformer(2, 2, dtype="mixed_bfloat16")
    mixed(FRAMES)
    mixed.set_weights(layer.get_weights())
    out = mixed(FRAMES, mask=MASK)
    assert out.dtype == "bfloat16"
    error = np.asarray(out, "float32") - np.asarray(layer(FRAMES, mask=MASK))
    assert np.abs(error[MASK]).max() < 0.2


def test_functional_model_round_trip(tmp_path):
    frames = keras.Input((5, 8))
    layer = FrameTransformer(num_layers=1, num_heads=2)
    model = keras.Model(frames, layer(frames))
    references.randomize(layer)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(FRAMES), model(FRAMES))


def test_bad_arguments():
    with pytest.raises(ValueError, match="num_layers=0"):
        FrameTransformer(0)
    with pytest.raises(ValueError, match="num_heads=3"):
        FrameTransformer(1, num_heads=3)(FRAMES)
