import importlib
import itertools

import numpy as np
import pytest

from kmmft.evaluation import core_set


def brute_force(x, centers, count):
    """The definition: each time all distances anew."""
    centers, rows, distances = list(centers), [], []
    for _ in range(count):
        nearest = [
            -1.0 if row in rows else min(np.linalg.norm(x[row] - c) for c in centers)
            for row in range(len(x))
        ]
        rows.append(int(np.argmax(nearest)))
        distances.append(nearest[rows[-1]])
        centers.append(x[rows[-1]])
    return rows, distances


def radius(x, centers):
    """Distance of the row that is farthest from its nearest center."""
    return np.linalg.norm(x[:, None] - centers[None], axis=-1).min(1).max()


def test_it_is_the_greedy_choice(monkeypatch):
    # The package's attribute of this name is the function.
    module = importlib.import_module("kmmft.evaluation.core_set")
    monkeypatch.setattr(module, "_CHUNK_ROWS", 2)
    random = np.random.default_rng(0)
    x, centers = random.normal(size=(40, 3)) + 100, random.normal(size=(5, 3)) + 100
    rows, distances = core_set(x.astype("float32"), centers.astype("float32"), 12)
    expected, expected_distances = brute_force(x, centers, 12)
    assert rows.tolist() == expected
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_what_it_leaves_is_at_most_twice_the_best(seed):
    x = np.random.default_rng(seed).normal(size=(9, 2))
    rows, distances = core_set(x, np.zeros((0, 2)), 3)
    best = min(radius(x, x[list(some)]) for some in itertools.combinations(range(9), 3))
    assert best <= radius(x, x[rows]) <= 2 * best
    # Without centers the first is the most central one.
    assert rows[0] == np.linalg.norm(x - x.mean(0), axis=1).argmin()
    assert distances[0] == np.inf


def test_equal_rows_are_each_taken_once():
    rows, distances = core_set(np.ones((3, 2)), np.ones((1, 2)), 3)
    assert sorted(rows) == [0, 1, 2]
    assert distances.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("features", "centers", "count", "message"),
    [
        (np.ones((3, 2)), np.ones((1, 3)), 1, "with the same dim"),
        (np.ones(3), np.ones((1, 1)), 1, "with the same dim"),
        (np.ones((3, 2)), np.ones((1, 2)), 4, "Received: 4 of 3 rows"),
        (np.ones((3, 2)), np.ones((1, 2)), 0, "`count` must be from 1"),
        (np.full((3, 2), np.nan), np.ones((1, 2)), 1, "in 3 rows"),
    ],
)
def test_errors(features, centers, count, message):
    with pytest.raises(ValueError, match=message):
        core_set(features, centers, count)
