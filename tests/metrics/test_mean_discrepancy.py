import itertools

import numpy as np
import pytest

from kmmft.metrics import mean_discrepancy
from kmmft.serving.drift_statistics import population_stability, reference_of


def equation_3(first, second, bandwidth):
    """Term by term."""

    def k(x, y):
        return np.exp(-np.sum((x - y) ** 2) / (2 * bandwidth**2))

    m, n = len(first), len(second)
    mine = sum(k(*pair) for pair in itertools.permutations(first, 2)) / (m * (m - 1))
    other = sum(k(*pair) for pair in itertools.permutations(second, 2)) / (n * (n - 1))
    across = sum(k(x, y) for x in first for y in second) / (m * n)
    return mine + other - 2 * across


def test_equals_the_published_sum_and_every_division():
    random = np.random.default_rng(0)
    first, second = random.normal(size=(4, 3)), random.normal(0.5, size=(5, 3))
    rows = np.concatenate([first, second])
    found = mean_discrepancy(first, second, permutations=20_000)
    distances = [np.linalg.norm(x - y) for x, y in itertools.combinations(rows, 2)]
    assert found.bandwidth == pytest.approx(np.median(distances))
    expected = equation_3(first, second, found.bandwidth)
    assert found.squared == pytest.approx(expected, rel=1e-9)
    # All 126 divisions of 9 rows, against so many drawn ones.
    values = []
    for chosen in itertools.combinations(range(9), 4):
        rest = [i for i in range(9) if i not in chosen]
        values.append(equation_3(rows[list(chosen)], rows[rest], found.bandwidth))
    exact = np.mean(np.array(values) >= expected - 1e-12)
    assert found.p_value == pytest.approx(exact, abs=0.015)


def test_by_hand():
    # Distances 1 within the sets and 0 across, or 1: k(1) = exp(-1/2).
    near = np.exp(-0.5)
    found = mean_discrepancy([[0.0], [1.0]], [[0.0], [1.0]], bandwidth=1.0)
    assert found.squared == pytest.approx(near + near - (1 + near))
    assert found.p_value == 1.0


def test_chance_is_rare_as_it_says():
    random = np.random.default_rng(1)
    values = [
        mean_discrepancy(*random.normal(size=(2, 30, 4)), permutations=99, seed=s)
        for s in range(200)
    ]
    rejected = np.mean([value.p_value <= 0.1 for value in values])
    assert 0.04 < rejected < 0.17  # 0.1, and three standard deviations
    assert abs(np.mean([value.squared for value in values])) < 0.003


def test_it_sees_what_single_numbers_hide():
    random = np.random.default_rng(2)
    first, second = random.normal(size=(2, 300, 2))
    second[:, 1] = second[:, 0]  # each column as before, but together
    for column in range(2):
        reference = reference_of(first[:, column])
        # The server's alarm is from 0.25 on.
        assert population_stability(second[:, column], reference) < 0.25
    assert mean_discrepancy(first, second).p_value < 0.01
    assert mean_discrepancy(first[:150], first[150:]).p_value > 0.05


def test_far_from_zero_and_all_alike():
    random = np.random.default_rng(3)
    first, second = random.normal(size=(2, 20, 3))
    found = mean_discrepancy(first, second).squared
    assert mean_discrepancy(first + 1e6, second + 1e6).squared == pytest.approx(
        found, abs=1e-6
    )
    same = mean_discrepancy(np.ones((5, 2)), np.ones((6, 2)))
    assert same.squared == pytest.approx(0) and same.p_value == 1.0
    assert mean_discrepancy(np.ones((9, 2)), np.zeros((3, 2))).p_value < 0.05


@pytest.mark.parametrize(
    ("first", "second", "options", "message"),
    [
        (np.ones((1, 2)), np.ones((3, 2)), {}, r"shapes \(1, 2\) and \(3, 2\)"),
        (np.ones((3, 2)), np.ones((3, 4)), {}, "equally wide"),
        (np.full((3, 2), np.nan), np.ones((3, 2)), {}, "must be finite"),
        (np.ones((3, 2)), np.ones((3, 2)), {"bandwidth": 0.0}, "must be positive"),
        (np.ones((3, 2)), np.ones((3, 2)), {"permutations": 0}, "must be positive"),
    ],
)
def test_bad_inputs(first, second, options, message):
    with pytest.raises(ValueError, match=message):
        mean_discrepancy(first, second, **options)
