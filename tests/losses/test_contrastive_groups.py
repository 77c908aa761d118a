"""Who belongs to whom: groups, hard negatives, items of several towers."""

import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.losses import Embeddings
from tests.losses.contrastive_cases import GROUPS, towers


class Masks(kmmft.losses.ContrastiveLoss):
    """Shows what `rows` receives."""

    def rows(self, similarity, positive, valid, **kwargs):
        self.positive, self.valid = positive.numpy(), valid.numpy()
        return tf.zeros(len(similarity))


@pytest.mark.parametrize("same_group", ["positive", "ignore"])
def test_who_is_positive_and_who_counts(same_group):
    # Pairs 0 and 1 are of one group. The last two candidates are hard negatives
    # of pair 0 and of pair 2, of their owners' groups.
    group, index = tf.constant([5, 5, 6], tf.int64), tf.range(3, dtype=tf.int64)
    images = Embeddings(tf.eye(3), group, index)
    texts = Embeddings(
        tf.ones((5, 3)),
        tf.concat([group, tf.constant([5, 6], tf.int64)], 0),
        tf.concat([index, tf.constant([-1, -1], tf.int64)], 0),
    )
    loss = Masks(same_group)
    loss.directed(images, texts)
    own = np.array([[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0]], bool)
    same = np.array([[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0]], bool)
    if same_group == "positive":
        np.testing.assert_array_equal(loss.positive, same)
        assert loss.valid.all()
    else:
        np.testing.assert_array_equal(loss.positive, own)
        np.testing.assert_array_equal(loss.valid, own | ~same)


def test_an_item_is_no_candidate_of_itself():
    sides = [Embeddings.from_vectors(x, GROUPS) for x in towers()]
    loss = Masks()
    loss.joint = True
    # A replica that holds pairs 2 and 3 only, against everybody's items.
    own = Embeddings.join([side[2:4] for side in sides])
    loss.directed(own, Embeddings.join(sides))
    own_places = np.array([2, 3, 9, 10])
    same = np.tile(GROUPS, 2)[own_places][:, None] == np.tile(GROUPS, 2)
    itself = own_places[:, None] == np.arange(14)
    np.testing.assert_array_equal(loss.valid, ~itself)
    np.testing.assert_array_equal(loss.positive, same & ~itself)


def test_hard_negatives_raise_the_loss_of_all():
    images, texts = (Embeddings.from_vectors(np.eye(2)) for _ in range(2))
    hard = Embeddings(tf.eye(2)[:1], images.group[:1], tf.constant([-1], tf.int64))
    candidates = Embeddings(
        tf.concat([texts.vectors, hard.vectors], 0),
        tf.concat([texts.group, hard.group], 0),
        tf.concat([texts.index, hard.index], 0),
    )
    result = kmmft.losses.InfoNCE().directed(images, candidates)
    e = np.e  # logits (1, 0, 1) and (0, 1, 0)
    np.testing.assert_allclose(
        result, [np.log((2 * e + 1) / e), np.log((e + 2) / e)], rtol=1e-6
    )
