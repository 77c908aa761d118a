import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft


def test_rates_and_the_one_that_is_spared():
    rate, number = 0.5, 3
    dropout = kmmft.layers.ModalityDropout(rate, seed=0)
    presence = np.ones((20_000, number), bool)
    kept = dropout(presence, training=True).numpy()
    assert kept.any(1).all()
    # 20,000 draws: the standard error is 0.0035.
    expected = rate - rate**number / number
    np.testing.assert_allclose(1 - kept.mean(0), expected, atol=0.015)
    # Independent but for the spared one: both of two others go at r ** 2.
    both = (~kept[:, 0] & ~kept[:, 1]).mean()
    np.testing.assert_allclose(both, rate**2 - rate**3 * 2 / 3, atol=0.015)
    presence[:, 0] = False
    kept = dropout(presence, training=True).numpy()
    assert not kept[:, 0].any() and kept[:, 1:].any(1).all()
    assert not dropout(np.zeros((4, 3), bool), training=True).numpy().any()


def test_seeds_decide_the_draws():
    presence = np.ones((64, 2), bool)

    def drawn(seed):
        dropout = kmmft.layers.ModalityDropout(0.5, seed=seed)
        return [dropout(presence, training=True).numpy() for _ in range(2)]

    first, second = drawn(1)
    np.testing.assert_array_equal(drawn(1), [first, second])
    assert (first != second).any() and (drawn(2)[0] != first).any()


def test_nothing_is_hidden_in_use_or_at_rate_zero():
    presence = np.array([[True, False], [True, True]] * 8)
    dropout = kmmft.layers.ModalityDropout(0.9, seed=0)
    np.testing.assert_array_equal(dropout(presence), presence)
    none = kmmft.layers.ModalityDropout(0.0)
    assert not none.variables
    np.testing.assert_array_equal(none(presence, training=True), presence)


def test_in_a_graph_and_a_functional_model():
    presence = keras.Input((2,), dtype="bool")
    layer = kmmft.layers.ModalityDropout(0.5, seed=3)
    model = keras.Model(presence, layer(presence))
    assert model.output.dtype == "bool" and model.output_shape == (None, 2)
    kept = tf.function(model)(np.ones((32, 2), bool), training=True).numpy()
    assert kept.any(1).all() and not kept.all()


@pytest.mark.parametrize("rate", [1.0, -0.1])
def test_out_of_range(rate):
    with pytest.raises(ValueError, match=rf"rate={rate}"):
        kmmft.layers.ModalityDropout(rate)
