import numpy as np
import pytest
import tensorflow as tf

from kmmft.models import sampling
from kmmft.models.sampling import filter_logits

sample = tf.function(sampling.sample)


def seeds(first):
    return np.stack([np.full(4000, first), np.arange(4000)], axis=1).astype("int32")


PROBABILITIES = np.array([[0.1, 0.4, 0.2, 0.3], [0.7, 0.1, 0.15, 0.05]], "float32")


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [[1, 1, 1, 1], [1, 1, 1, 1]]),
        ({"top_k": 2}, [[0, 1, 0, 1], [1, 0, 1, 0]]),
        ({"top_k": 9}, [[1, 1, 1, 1], [1, 1, 1, 1]]),
        ({"top_p": 0.65}, [[0, 1, 0, 1], [1, 0, 0, 0]]),
        ({"top_p": 0.8}, [[0, 1, 1, 1], [1, 0, 1, 0]]),
        ({"top_p": 1e-6}, [[0, 1, 0, 0], [1, 0, 0, 0]]),
        ({"top_k": 3, "top_p": 0.65}, [[0, 1, 0, 1], [1, 0, 0, 0]]),
    ],
)
def test_likeliest_classes_stay(options, kept):
    logits = tf.math.log(PROBABILITIES)
    found = filter_logits(logits, **options).numpy()
    np.testing.assert_array_equal(np.isfinite(found), np.array(kept, bool))
    np.testing.assert_array_equal(found[np.isfinite(found)], logits[np.isfinite(found)])


@pytest.mark.parametrize(
    "wrong", [{"top_k": 0}, {"top_k": 1.5}, {"top_p": 0.0}, {"top_p": 1.1}]
)
def test_wrong_limits(wrong):
    with pytest.raises(ValueError, match=f"Received: {next(iter(wrong))}="):
        filter_logits(tf.zeros((1, 2)), **wrong)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_draws_as_often_as_the_logits_say(temperature):
    logits = np.repeat(np.log(PROBABILITIES[:1]), 4000, axis=0)
    drawn = sample(logits, seeds(7), temperature=temperature).numpy()
    expected = PROBABILITIES[0] ** (1 / temperature)
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    np.testing.assert_allclose(shares, expected / expected.sum(), atol=0.03)


def test_same_seed_same_draw_and_excluded_classes_never():
    logits = filter_logits(tf.tile([[0.0, 1.0, 2.0, 3.0]], (4000, 1)), top_k=2)
    first, again = (sample(logits, seeds(3)).numpy() for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert set(first) == {2, 3}
    # A row's draw is its own.
    np.testing.assert_array_equal(sample(logits[:9], seeds(3)[:9]), first[:9])
    assert (sample(logits, seeds(5)).numpy() != first).any()
    assert set(sample(logits, seeds(3), temperature=0.0).numpy()) == {3}
