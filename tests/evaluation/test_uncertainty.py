import numpy as np
import pytest

import kmmft
from kmmft.evaluation import UNCERTAINTIES, uncertainty


@pytest.mark.parametrize("classes", [2, 5])
def test_scores_equal_references(classes):
    random = np.random.default_rng(0)
    p = random.dirichlet(np.full(classes, 0.3), 50)
    p[0] = np.eye(classes)[1]
    expected = -np.sum(np.where(p > 0, p * np.log(np.maximum(p, 1e-300)), 0), axis=1)
    np.testing.assert_allclose(uncertainty(p), expected, rtol=1e-9, atol=1e-15)
    for row, margin, least in zip(
        p,
        uncertainty(p, "margin"),
        uncertainty(p, "least_confidence"),
        strict=True,
    ):
        first, second, *_ = sorted(row, reverse=True)
        assert margin == pytest.approx(1 - (first - second))
        assert least == pytest.approx(1 - first)


@pytest.mark.parametrize("kind", UNCERTAINTIES)
def test_even_answers_are_least_sure_and_certain_ones_most(kind):
    scores = uncertainty(
        np.array([[0.6, 0.3, 0.1], [1, 1, 1], [0, 1, 0]]) / [[1], [3], [1]], kind
    )
    assert scores[1] > scores[0] > scores[2] == 0


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        ([[0.5, 0.5]], "doubt", "`kind` must be one of entropy"),
        ([0.5, 0.5], "entropy", "of shape"),
        ([[1.0]], "entropy", "two classes or more"),
        ([[0.5, 0.5], [2.0, 1.0]], "margin", "in row 1, one of 1"),
        ([[1.5, -0.5]], "margin", "not negative"),
        ([[np.nan, 0.5]], "entropy", "Did the training diverge"),
    ],
)
def test_errors(rows, kind, message):
    with pytest.raises(ValueError, match=message):
        kmmft.evaluation.uncertainty(np.array(rows), kind)
