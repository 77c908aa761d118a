"""PCGrad's projections are those of its algorithm, in a random order."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from kmmft.training import project_conflicts


def project(vectors, orders):
    """Yu et al., 2020, algorithm 1, for one order of the others for each task."""
    total = np.zeros_like(vectors[0])
    for task, order in enumerate(orders):
        own = vectors[task].copy()
        for other in order:
            product = own @ vectors[other]
            if product < 0:
                own -= product / (vectors[other] @ vectors[other]) * vectors[other]
        total += own
    return total


def projected(vectors, seed=0):
    lists = [[tf.constant(v[:2], tf.float32), tf.constant(v[2:])] for v in vectors]
    return np.concatenate(project_conflicts(lists, [seed, 0]))


def test_conflict_by_hand():
    # Along (0, 1) the first loses its -1, the second its part along (3, -1).
    first, second = np.array([[3.0, -1, 0, 0], [0.0, 1, 0, 0]], np.float32)
    expected = [3.0 + 0.3, 0.0 + 0.9, 0, 0]
    np.testing.assert_allclose(projected([first, second]), expected, rtol=1e-6)


def test_agreeing_and_empty_gradients_are_added():
    vectors = np.array([[1, 2, 0, 0], [2, 1, 0, 1], [0, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(projected(vectors), [3, 3, 0, 1])


def test_two_tasks_equal_the_algorithm():
    rng = np.random.default_rng(0)
    conflicts = 0
    for _ in range(10):
        vectors = rng.normal(size=(2, 5)).astype("float32")
        conflicts += vectors[0] @ vectors[1] < 0
        expected = project(vectors, [[1], [0]])
        np.testing.assert_allclose(projected(vectors), expected, atol=1e-5)
    assert 0 < conflicts < 10


def test_three_tasks_meet_in_every_order():
    """All eight orders are drawn, and each result is that of one of them."""
    angles = np.array([0.0, 2.0, 4.1])
    vectors = np.stack([np.cos(angles), np.sin(angles), angles * 0, angles * 0], 1)
    vectors = (vectors * [[1.0], [2.0], [3.0]]).astype("float32")
    others = [[1, 2], [0, 2], [0, 1]]
    expected = [
        project(vectors, orders)
        for orders in itertools.product(*(itertools.permutations(x) for x in others))
    ]
    drawn = set()
    for seed in range(60):
        distances = [np.abs(projected(vectors, seed) - x).max() for x in expected]
        assert min(distances) < 1e-5
        drawn.add(int(np.argmin(distances)))
    distinct = {tuple(x.round(4)) for x in expected}
    assert len({tuple(expected[number].round(4)) for number in drawn}) == len(distinct)
    assert len(distinct) > 4


def test_the_order_depends_on_the_seed_only():
    vectors = np.random.default_rng(1).normal(size=(4, 4)).astype("float32")
    np.testing.assert_array_equal(projected(vectors, 3), projected(vectors, 3))


def test_gradients_must_be_of_the_same_weights():
    with pytest.raises(ValueError, match=r"lists of \[1, 2\] tensors"):
        project_conflicts([[tf.ones(1)], [tf.ones(1), tf.ones(1)]], [0, 0])
