import numpy as np
import pytest

from kmmft.evaluation import PairedVectors, ridge_baseline, ridge_maps

RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(40, 5))
TARGETS = RANDOM.normal(size=(40, 3))


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 50.0])
def test_equal_to_least_squares_with_rows_for_the_penalty(penalty):
    # Ridge is least squares on the centred data with sqrt(penalty) * I below them.
    mean, target_mean = INPUTS.mean(0), TARGETS.mean(0)
    below = np.sqrt(penalty) * np.eye(5)
    expected = np.linalg.lstsq(
        np.concatenate([INPUTS - mean, below]),
        np.concatenate([TARGETS - target_mean, np.zeros((5, 3))]),
    )[0]
    (found,) = ridge_maps(INPUTS, TARGETS, [penalty])
    np.testing.assert_allclose(found.weights, expected, atol=1e-10)
    np.testing.assert_allclose(found(mean[None]), target_mean[None], atol=1e-10)


def test_more_dimensions_than_rows():
    (found,) = ridge_maps(INPUTS.T, TARGETS[:5], [1e-9])
    np.testing.assert_allclose(found(INPUTS.T), TARGETS[:5], atol=1e-4)


def split(count, noise, seed):
    """Texts, and images that are an unknown mixture of them and of noise."""
    mixture = np.random.default_rng(9).normal(size=(8, 12))
    random = np.random.default_rng(seed)
    texts = random.normal(size=(count, 8))
    images = texts @ mixture + noise * random.normal(size=(count, 12))
    return PairedVectors(images, texts, np.arange(count))


def test_finds_a_linear_relation_and_no_other():
    splits = [split(200, 0.1, 1), split(50, 0.1, 2), split(50, 0.1, 3)]
    assert ridge_baseline(*splits)["mean_recall"] > 0.9
    random = PairedVectors(
        np.random.default_rng(4).normal(size=(200, 12)),
        splits[0].texts,
        np.arange(200),
    )
    # Chance is the mean of 1, 5 and 10 of 50.
    assert ridge_baseline(random, *splits[1:])["mean_recall"] < 0.25


def test_penalty_is_chosen_on_the_validation_split():
    splits = [split(30, 3.0, 1), split(60, 3.0, 2), split(60, 3.0, 3)]
    alone = {p: ridge_baseline(*splits, penalties=[p]) for p in (1e-4, 0.3, 1e4)}
    chosen = ridge_baseline(*splits, penalties=list(alone))
    swapped = ridge_baseline(splits[0], splits[2], splits[1], penalties=list(alone))
    on_validation = {
        p: ridge_baseline(splits[0], splits[2], splits[1], penalties=[p])["mean_recall"]
        for p in alone
    }
    best = max(on_validation, key=on_validation.get)
    assert chosen == alone[best]
    assert swapped["penalty"] in alone
    assert len({round(v, 3) for v in on_validation.values()}) > 1


def test_an_image_counts_once_a_caption():
    train = split(30, 1.0, 1)
    twice = PairedVectors(
        train.images, np.repeat(train.texts, 2, 0), np.repeat(np.arange(30), 2)
    )
    test = split(20, 1.0, 3)
    # Twice the squares with twice the penalty is the same map.
    assert ridge_baseline(twice, test, test, penalties=[2.0]) == {
        **ridge_baseline(train, test, test, penalties=[1.0]),
        "penalty": 2.0,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((INPUTS, TARGETS, []), "`penalties` must be positive.*\\[\\]"),
        ((INPUTS, TARGETS, [1.0, 0.0]), "`penalties` must be positive"),
        ((INPUTS, TARGETS[:7], [1.0]), "40 and 7"),
        ((INPUTS[:0], TARGETS[:0], [1.0]), "0 and 0"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        ridge_maps(*arguments)
