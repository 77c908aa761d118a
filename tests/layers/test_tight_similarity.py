import keras
import numpy as np
import pytest
import tensorflow as tf

from kmmft.layers import TightSimilarity
from tests.layers import references

RANDOM = np.random.default_rng(0)
TEXT = RANDOM.normal(size=(5, 8)).astype("float32")
FRAMES = RANDOM.normal(size=(3, 4, 8)).astype("float32")
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]], bool)


def make(**options):
    layer = TightSimilarity(num_layers=2, num_heads=2, **options)
    layer(TEXT, FRAMES)
    references.randomize(layer)
    return layer


@pytest.fixture(scope="module")
def layer():
    return make()


def test_each_pair_is_one_sequence(layer):
    scores = layer(TEXT, FRAMES, mask=MASK)
    assert scores.shape == (5, 3)
    places, kinds = references.value(layer.places), references.value(layer.kinds)
    for i, j in [(0, 0), (4, 1), (2, 2)]:
        kind = np.stack([kinds[0], *[kinds[1]] * 4])
        x = np.concatenate([TEXT[i : i + 1], FRAMES[j]]) + places + kind
        mask = np.concatenate([[True], MASK[j]])
        for block in layer.blocks.values():
            x = references.attention_block(block, x, mask)
        hidden = references.dense(layer.hidden, references.layer_norm(layer.norm, x[0]))
        expected = references.dense(layer.score, references.gelu(hidden))
        np.testing.assert_allclose(scores[i, j], expected[0], rtol=1e-4, atol=1e-4)


def test_masked_frames_cannot_be_seen(layer):
    other = np.where(MASK[..., None], FRAMES, np.nan)
    np.testing.assert_array_equal(
        layer(TEXT, other, mask=MASK), layer(TEXT, FRAMES, mask=MASK)
    )


def test_the_order_of_frames_matters(layer):
    forward, backward = layer(TEXT, FRAMES), layer(TEXT, FRAMES[:, ::-1])
    assert np.abs(forward - backward).max() > 1e-2


@pytest.mark.parametrize("chunk_size", [1, 2, 5, 9])
def test_chunks_change_neither_scores_nor_gradients(layer, chunk_size):
    chunked = make(chunk_size=chunk_size)

    def run(layer):
        text, frames = tf.constant(TEXT), tf.constant(FRAMES)
        with tf.GradientTape() as tape:
            tape.watch([text, frames])
            scores = layer(text, frames, mask=MASK)
            loss = tf.reduce_sum(tf.nn.log_softmax(scores)[:, 0])
        weights = [variable.value for variable in layer.trainable_variables]
        return scores, tape.gradient(loss, [text, frames, *weights])

    expected, expected_gradients = run(layer)
    scores, gradients = tf.function(run)(chunked)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    for gradient, other in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, other, rtol=1e-4, atol=1e-5)


def test_mixed_precision(layer):
    mixed = TightSimilarity(2, 2, dtype="mixed_bfloat16")
    mixed(TEXT, FRAMES)
    mixed.set_weights(layer.get_weights())
    scores = mixed(TEXT, FRAMES, mask=MASK)
    assert scores.dtype == "float32"
    np.testing.assert_allclose(scores, layer(TEXT, FRAMES, mask=MASK), atol=0.3)


def test_functional_model_round_trip(tmp_path):
    text, frames = keras.Input((8,)), keras.Input((4, 8))
    layer = TightSimilarity(num_layers=1, num_heads=2, chunk_size=2)
    model = keras.Model([text, frames], layer(text, frames))
    references.randomize(layer)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    inputs = [TEXT[:3], FRAMES]
    np.testing.assert_array_equal(loaded(inputs), model(inputs))


@pytest.mark.parametrize("options", [{"num_layers": 0}, {"chunk_size": 0}])
def test_bad_arguments(options):
    with pytest.raises(ValueError, match="must be positive"):
        TightSimilarity(**options)
    with pytest.raises(ValueError, match="equally wide"):
        TightSimilarity()(TEXT, FRAMES[..., :4])
