import math

import pytest

from kmmft.metrics import regression_metrics

TARGETS = [1.5, -2, 0.25, 3, 3, -1, 0.25]
PREDICTIONS = [1, -1, 0.5, 2.5, 0.5, -1, 0.5]


def test_equal_to_scipy_and_scikit_learn():
    # scipy 1's pearsonr and spearmanr, scikit-learn 1's r2_score and RMSE.
    scores = regression_metrics(TARGETS, PREDICTIONS)
    assert scores == pytest.approx(
        {
            "mae": 5 / 7,
            "rmse": 1.0606601717798212,
            "r2": 0.6388206388206388,
            "pearson": 0.842064994507606,
            "spearman": 0.8384375273633765,
        },
        abs=1e-12,
    )


def test_one_number_has_errors_and_no_correlation():
    scores = regression_metrics([1], [3])
    assert scores["mae"] == scores["rmse"] == 2
    assert all(math.isnan(scores[name]) for name in ("r2", "pearson", "spearman"))


def test_constants_have_no_correlation():
    scores = regression_metrics([1, 2], [3, 3])
    assert math.isnan(scores["pearson"]) and math.isnan(scores["spearman"])
    assert math.isnan(regression_metrics([1, 1], [1, 2])["r2"])


@pytest.mark.parametrize(
    ("targets", "predictions", "message"),
    [
        ([1, 2], [1], r"targets \(2,\), predictions \(1,\)"),
        ([], [], "at least one"),
        ([1, math.inf], [1, 2], "must be finite"),
    ],
)
def test_bad_numbers(targets, predictions, message):
    with pytest.raises(ValueError, match=message):
        regression_metrics(targets, predictions)
