import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from kmmft.metrics import next_item_gains


def test_equals_scikit_learn_with_ties():
    random = np.random.default_rng(0)
    scores = random.integers(0, 12, (40, 30)).astype(float)
    targets = random.integers(0, 30, 40)
    right = np.eye(30)[targets]
    for k in (1, 5, 10):
        found = next_item_gains(scores, targets, k=k)[f"ndcg_at_{k}"]
        assert found.mean() == pytest.approx(ndcg_score(right, scores, k=k), abs=1e-12)


def test_equals_the_mean_over_random_orders_of_the_tied():
    scores = np.array([[2.0, 1.0, 1.0, 1.0, 0.0]])
    gains = next_item_gains(scores, [2], k=3)
    # Ranks 2, 3 and 4 are equally likely.
    assert gains["hit_rate_at_3"][0] == pytest.approx(2 / 3)
    assert gains["reciprocal_rank"][0] == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 3)


def test_what_was_seen_does_not_compete():
    scores = np.array([[0.9, 0.8, 0.7, 0.6]])
    gains = next_item_gains(scores, [3], k=1)
    assert gains["reciprocal_rank"][0] == pytest.approx(1 / 4)
    gains = next_item_gains(scores, [3], seen=[[0, 2]], k=1)
    assert gains["reciprocal_rank"][0] == pytest.approx(1 / 2)
    assert scores[0, 0] == 0.9
    gains = next_item_gains(np.zeros((1, 50)), [3], k=10)
    assert gains["hit_rate_at_10"][0] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0, 2.0]], [0, 1]), "a target for each user"),
        (([[1.0, 2.0]], [2]), "from 0 to 1"),
        (([[1.0, 2.0]], [0.5]), "integers"),
        (([[1.0, np.nan]], [0]), "1 NaN"),
        (([[1.0, 2.0]], [0], None, 0), "k=0"),
        (([[1.0, 2.0]], [0], [[1, 0]]), "item 0 of row 0 in `seen`"),
    ],
)
def test_bad_arguments_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        next_item_gains(*arguments)
