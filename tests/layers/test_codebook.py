import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft


@pytest.fixture
def codebook():
    layer = kmmft.layers.Codebook(num_codes=4, decay=0.9, min_share=0.1)
    layer.build((None, 2))
    layer.codes.assign(np.array([[0, 0], [1, 0], [0, 1], [5, 5]], "float32"))
    return layer


VECTORS = np.array([[[0.1, 0.1], [0.9, 0.2]], [[0.2, 0.9], [0.6, 0.1]]], "float32")


def test_each_vector_gets_the_nearest_code(codebook):
    outputs = codebook(VECTORS)
    np.testing.assert_array_equal(outputs["ids"], [[0, 1], [2, 1]])
    expected = codebook.codes.numpy()[[[0, 1], [2, 1]]]
    np.testing.assert_allclose(outputs["vectors"], expected, atol=1e-6)


def test_the_gradient_passes_straight_through(codebook):
    vectors = tf.constant(VECTORS)
    factors = np.arange(8, dtype="float32").reshape(VECTORS.shape)
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        loss = tf.reduce_sum(codebook(vectors)["vectors"] * factors)
    np.testing.assert_allclose(tape.gradient(loss, vectors), factors)


def test_codes_are_moving_averages_of_their_vectors(codebook):
    replacements = np.full((4, 2), 7, "float32")
    counts, sums = np.zeros(4), np.zeros((4, 2))
    random = np.random.default_rng(0)
    for step in range(3):
        vectors = random.uniform(0, 1, (5, 2)).astype("float32")
        codes = codebook.codes.numpy()
        nearest = ((vectors[:, None] - codes) ** 2).sum(-1).argmin(-1)
        ids = codebook(vectors)["ids"]
        np.testing.assert_array_equal(ids, nearest)
        codebook.update(*codebook.statistics(vectors, ids), replacements)
        # The formulas of van den Oord et al., appendix A.1, with revival.
        decay = 0.9 if step else 0.0
        chosen = np.eye(4)[nearest]
        counts = decay * counts + (1 - decay) * chosen.sum(0)
        sums = decay * sums + (1 - decay) * chosen.T @ vectors
        average = counts.mean()
        dead = counts < 0.1 * average
        counts = np.where(dead, average, counts)
        sums = np.where(dead[:, None], average * 7, sums)
        np.testing.assert_allclose(codebook.codes, sums / counts[:, None], rtol=1e-5)
    # The one at (5, 5), which nobody chose, was put onto a vector at once.
    assert 0 < counts[3] < 1.25
    assert codebook.codes.numpy()[3].max() > 6


def test_codes_of_unit_length():
    unit = kmmft.layers.Codebook(num_codes=4, unit_length=True)
    unit.build((None, 2))
    vectors = VECTORS.reshape(-1, 2)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    for _ in range(3):
        ids = unit(vectors)["ids"]
        unit.update(*unit.statistics(vectors, ids), vectors)
        length = np.linalg.norm(unit.codes.numpy(), axis=-1)
        np.testing.assert_allclose(length, 1, rtol=1e-5)


def test_config(codebook):
    clone = kmmft.layers.Codebook.from_config(codebook.get_config())
    assert clone.get_config() == codebook.get_config()
    symbolic = codebook(keras.Input((3, 2)))
    assert symbolic["vectors"].shape == (None, 3, 2)
    assert symbolic["ids"].shape == (None, 3) and symbolic["ids"].dtype == "int32"


@pytest.mark.parametrize("wrong", [{"num_codes": 1}, {"num_codes": 4, "decay": 1.0}])
def test_wrong_arguments(wrong):
    with pytest.raises(ValueError, match="Received: num_codes="):
        kmmft.layers.Codebook(**wrong)
