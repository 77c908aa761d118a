import numpy as np
import pytest
import tensorflow as tf

import kmmft


def numbered(batch, tokens):
    """Tokens that hold their own places."""
    return np.tile(np.arange(tokens, dtype="float32")[None, :, None], (batch, 1, 2))


def test_keeps_the_prefix_and_a_share_of_the_patches_in_order():
    dropout = kmmft.layers.PatchDropout(rate=0.7, prefix_tokens=2, seed=1)
    places = dropout(numbered(64, 12), training=True)[..., 0].numpy()
    assert places.shape == (64, 2 + 3)
    np.testing.assert_array_equal(places[:, :2], np.tile([0, 1], (64, 1)))
    assert np.all(np.diff(places, axis=1) > 0)
    assert places.max() <= 11
    assert len(np.unique(places, axis=0)) > 32  # images lose different patches


def test_each_patch_is_as_likely_to_stay():
    dropout = kmmft.layers.PatchDropout(rate=0.5, seed=1)
    places = dropout(numbered(4000, 8), training=True)[..., 0].numpy()
    shares = np.bincount(places.astype(int).ravel(), minlength=8) / 4000
    # The standard deviation of a share is 0.008.
    np.testing.assert_allclose(shares, 0.5, atol=0.035)


def test_all_patches_in_use_and_at_rate_zero():
    tokens = numbered(2, 5)
    np.testing.assert_array_equal(kmmft.layers.PatchDropout(0.5)(tokens), tokens)
    none = kmmft.layers.PatchDropout(0.0)(tokens, training=True)
    np.testing.assert_array_equal(none, tokens)


def test_one_patch_always_stays():
    dropout = kmmft.layers.PatchDropout(rate=0.99, prefix_tokens=1)
    assert dropout(numbered(2, 4), training=True).shape == (2, 2, 2)


def test_gradient_reaches_the_kept_tokens_only():
    tokens = tf.Variable(numbered(1, 6))
    dropout = kmmft.layers.PatchDropout(rate=0.5, seed=3)
    with tf.GradientTape() as tape:
        kept = dropout(tokens, training=True)
        total = tf.reduce_sum(kept)
    gradient = tf.convert_to_tensor(tape.gradient(total, tokens))[0, :, 0].numpy()
    places = kept[0, :, 0].numpy().astype(int)
    np.testing.assert_array_equal(np.flatnonzero(gradient), places)


@pytest.mark.parametrize(
    "arguments", [{"rate": 1.0}, {"rate": 0.5, "prefix_tokens": -1}]
)
def test_out_of_range(arguments):
    with pytest.raises(ValueError, match="`rate` must be from 0"):
        kmmft.layers.PatchDropout(**arguments)
