import numpy as np
import pytest

from kmmft.metrics import frechet_distance


def test_equals_the_formula_with_a_matrix_root():
    random = np.random.default_rng(0)
    first = random.normal(size=(40, 5)) @ random.normal(size=(5, 5))
    second = random.normal(1.0, 2.0, size=(30, 5))
    one, other = np.cov(first.T), np.cov(second.T)
    # Of a product of covariances the eigenvalues are real, and not negative.
    values, vectors = np.linalg.eig(one @ other)
    root = (vectors * np.sqrt(values)) @ np.linalg.inv(vectors)
    np.testing.assert_allclose(root @ root, one @ other, rtol=1e-6)
    means = first.mean(0) - second.mean(0)
    expected = means @ means + np.trace(one + other - 2 * root)
    np.testing.assert_allclose(frechet_distance(first, second), expected, rtol=1e-8)


def test_fewer_rows_than_columns():
    rows = np.random.default_rng(1).normal(size=(4, 9))
    assert frechet_distance(rows, rows) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(frechet_distance(rows, rows + 1), 9, rtol=1e-6)


def test_one_dimension_by_hand():
    # Means 1 and 4, variances 2 and 8: 9 + 2 + 8 - 2 * 4.
    assert frechet_distance([[0.0], [2.0]], [[2.0], [6.0]]) == pytest.approx(11)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (np.ones((1, 2)), np.ones((3, 2))),
        (np.ones((3, 2)), np.ones((3, 4))),
        (np.ones(3), np.ones(3)),
        (np.full((3, 2), np.nan), np.ones((3, 2))),
    ],
)
def test_wrong_vectors(first, second):
    with pytest.raises(ValueError, match="Received: "):
        frechet_distance(first, second)
