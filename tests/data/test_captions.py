import numpy as np
import pytest
import tensorflow as tf

from kmmft import data

CAPTIONS = tf.constant(["a", "b", "c"])


@tf.function
def drawn(count, captions=CAPTIONS):
    seeds = tf.stack([tf.zeros(count, tf.int32), tf.range(count)], axis=1)
    return tf.map_fn(lambda seed: data.choose_caption(captions, seed), seeds, tf.string)


def test_all_captions_are_as_likely():
    _, counts = np.unique(drawn(3000).numpy(), return_counts=True)
    # Five standard deviations of a binomial count with p = 1/3.
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(3000 * 2 / 9)


def test_choice_depends_on_the_seed_alone():
    first = drawn(50).numpy()
    tf.random.set_seed(7)
    np.testing.assert_array_equal(first, drawn(50).numpy())
    assert len(set(drawn(50, CAPTIONS[:1]).numpy())) == 1


def test_choice_says_nothing_about_a_flip_by_the_same_seed():
    seeds = [(0, n) for n in range(400)]
    second = np.array(
        [data.choose_caption(CAPTIONS[:2], s).numpy() == b"b" for s in seeds]
    )
    flip = [tf.random.stateless_uniform((), s).numpy() < 0.5 for s in seeds]
    assert abs(np.corrcoef(second, flip)[0, 1]) < 0.2


def test_without_a_seed_the_first():
    assert data.choose_caption(CAPTIONS).numpy() == b"a"
    ids = tf.function(data.choose_caption)
    assert ids(CAPTIONS).numpy() == b"a"


def test_no_captions():
    with pytest.raises(tf.errors.InvalidArgumentError, match="must have a caption"):
        data.choose_caption(CAPTIONS[:0], (0, 1))
    chosen = tf.function(lambda captions: data.choose_caption(captions, (0, 1)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="must have a caption"):
        chosen(CAPTIONS[:0])
