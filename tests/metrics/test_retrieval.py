"""Against other people's numbers, whole score matrices and every order of the tied."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.metrics import (
    retrieval_metrics,
    retrieval_ranks,
    two_way_retrieval,
    two_way_retrieval_from_scores,
)

# Of `images_and_texts` below, with all scores raised by 2: recalls by torchmetrics 1.9
# (RetrievalHitRate) and CLIP_benchmark's `recall_at_k`, average precision by
# scikit-learn 1.9 and torchmetrics (RetrievalMAP).
PEERS = {
    "image_to_text/recall_at_1": 0.4,
    "image_to_text/recall_at_5": 0.7749999761581421,
    "image_to_text/recall_at_10": 0.8999999761581421,
    "image_to_text/mean_average_precision": 0.4153850357530887,
    "text_to_image/recall_at_1": 0.39814814925193787,
    "text_to_image/recall_at_5": 0.7777777910232544,
    "text_to_image/recall_at_10": 0.9074074029922485,
    "text_to_image/mean_average_precision": 0.566323203951128,
}


def images_and_texts():
    """40 images with 1 to 4 captions each, in no order."""
    random = np.random.default_rng(0)
    images = random.normal(size=(40, 6)).astype("f4")
    own = np.repeat(np.arange(40), random.integers(1, 5, 40))
    texts = (images[own] + 1.2 * random.normal(size=(len(own), 6))).astype("f4")
    order = random.permutation(len(own))
    return images, texts[order], own[order]


def by_sorting(scores, right, ks):
    """The same numbers from the whole matrix, where no scores are equal."""
    order = np.argsort(-scores, axis=1)
    hits = np.take_along_axis(right, order, axis=1)
    first = hits.argmax(axis=1) + 1
    precision = hits.cumsum(axis=1) / np.arange(1, hits.shape[1] + 1)
    average = (precision * hits).sum(axis=1) / hits.sum(axis=1)
    return {f"recall_at_{k}": np.mean(first <= k) for k in ks} | {
        "median_rank": np.median(first),
        "mean_rank": np.mean(first),
        "mean_average_precision": np.mean(average),
    }


def test_as_the_libraries_count():
    images, texts, own = images_and_texts()
    metrics = two_way_retrieval(images, texts, own)
    for name, value in PEERS.items():
        assert metrics[name] == pytest.approx(value, abs=1e-6), name
    recalls = [value for name, value in PEERS.items() if "recall" in name]
    assert metrics["mean_recall"] == pytest.approx(np.mean(recalls), abs=1e-6)


@pytest.mark.parametrize("chunk_size", [7, 2048])
@pytest.mark.parametrize("most_comparisons", [32, 0])
def test_as_the_whole_matrix_tells(chunk_size, most_comparisons, monkeypatch):
    monkeypatch.setattr(retrieval_ranks, "TILE_COLUMNS", 16)
    monkeypatch.setattr(retrieval_ranks, "MAX_COMPARISONS", most_comparisons)
    images, texts, own = images_and_texts()
    unit_images = images / np.linalg.norm(images, axis=1, keepdims=True)
    unit_texts = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    right = np.arange(40)[:, np.newaxis] == own
    metrics = retrieval_metrics(
        images, texts, np.arange(40), own, (1, 3, 40), chunk_size
    )
    expected = by_sorting(unit_images @ unit_texts.T, right, (1, 3, 40))
    assert metrics == pytest.approx(expected, abs=1e-9)


def test_groups_on_both_sides():
    """Several queries that share several candidates, as pictures of one class."""
    random = np.random.default_rng(1)
    vectors, labels = random.normal(size=(60, 5)), random.integers(0, 3, 60)
    queries, groups = random.normal(size=(20, 5)), random.integers(0, 3, 20)
    metrics = retrieval_metrics(queries, vectors, groups, labels, (1, 5))
    scores = queries @ (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).T
    expected = by_sorting(scores, groups[:, np.newaxis] == labels, (1, 5))
    assert metrics == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("tied", [[0, 1, 2, 3, 4], [1, 2, 3], [0, 3], [2, 4]])
@pytest.mark.parametrize("right", [[3], [0, 3], [1, 2, 4]])
def test_the_tied_count_as_their_mean_over_all_orders(tied, right):
    scores = np.array([0.9, 0.7, 0.5, 0.3, 0.1])
    scores[tied] = scores[tied[0]]
    candidates = np.stack([scores, np.sqrt(1 - scores**2)], axis=1)
    is_right = np.isin(np.arange(5), right)
    metrics = retrieval_metrics(
        np.array([[1.0, 0.0]]), candidates, [1], is_right.astype(int), (1, 2, 3)
    )
    # All permutations, breaking ties by position: every order of the tied as often.
    orders = [
        by_sorting(
            (scores - 1e-4 * np.array(places))[np.newaxis],
            is_right[np.newaxis],
            (1, 2, 3),
        )
        for places in itertools.permutations(range(5))
    ]
    for name in ("recall_at_1", "recall_at_2", "recall_at_3", "mean_rank"):
        mean = np.mean([order[name] for order in orders])
        assert metrics[name] == pytest.approx(mean), name
    mean = np.mean([order["mean_average_precision"] for order in orders])
    assert metrics["mean_average_precision"] == pytest.approx(mean)


@pytest.mark.parametrize("dim", [3, 129])
def test_collapsed_vectors_get_chance(dim):
    vector = np.random.default_rng(0).normal(size=dim)
    images, texts = np.tile(vector, (50, 1)), np.tile(2 * vector, (50, 1))
    metrics = two_way_retrieval(images, texts, np.arange(50))
    assert metrics["image_to_text/recall_at_1"] == pytest.approx(1 / 50)
    assert metrics["text_to_image/recall_at_10"] == pytest.approx(10 / 50)
    assert metrics["image_to_text/mean_rank"] == pytest.approx(51 / 2)
    # Of one in 50 places: the mean of 1 / place.
    chance = np.mean(1 / np.arange(1, 51))
    assert metrics["text_to_image/mean_average_precision"] == pytest.approx(chance)
    zeros = two_way_retrieval(np.zeros((50, dim)), texts, np.arange(50))
    assert zeros["image_to_text/recall_at_1"] == pytest.approx(1 / 50)


def test_a_picture_twice_in_the_set_halves_its_hits():
    images = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    metrics = two_way_retrieval(images, images, np.arange(3), ks=(1, 2))
    assert metrics["text_to_image/recall_at_1"] == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert metrics["text_to_image/recall_at_2"] == 1.0


def test_float16_vectors_and_names():
    images, texts, own = images_and_texts()
    metrics = two_way_retrieval(
        images.astype("f2"), texts.astype("f2"), own, ks=(10,), names=("video", "text")
    )
    assert metrics["video_to_text/recall_at_10"] == pytest.approx(0.9, abs=0.03)


def test_scores_are_not_rounded_to_tensor_float_32(monkeypatch):
    seen = []
    multiply = tf.matmul

    def watched(*args, **kwargs):
        seen.append(tf.config.experimental.tensor_float_32_execution_enabled())
        return multiply(*args, **kwargs)

    monkeypatch.setattr(tf, "matmul", watched)
    two_way_retrieval(np.eye(2), np.eye(2), [0, 1], ks=(1,))
    assert seen == [False, False]
    assert tf.config.experimental.tensor_float_32_execution_enabled()


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_scores_of_pairs_count_as_cosines_do(scale):
    images, texts, own = images_and_texts()
    # Twice the same picture and caption: ties.
    images, texts = np.concatenate([images, images[:5]]), texts / 3
    own = np.concatenate([own, np.arange(40, 45)])
    texts = np.concatenate([texts, texts[:5]])
    scores = kmmft.metrics.unit_vectors("images", images)
    scores = scale * scores @ kmmft.metrics.unit_vectors("texts", texts).T
    options = {"ks": (1, 5, 45), "names": ("video", "text")}
    metrics = two_way_retrieval_from_scores(scores, own, **options)
    expected = two_way_retrieval(images, texts, own, **options)
    assert metrics == pytest.approx(expected, abs=1e-6)
    assert 0.2 < metrics["video_to_text/recall_at_1"] < 0.5


def test_equal_scores_get_chance():
    metrics = two_way_retrieval_from_scores(np.full((4, 4), -700.0), range(4), ks=(1,))
    assert metrics["image_to_text/recall_at_1"] == pytest.approx(1 / 4)
    assert metrics["text_to_image/mean_rank"] == pytest.approx(5 / 2)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.ones(3), "`scores` must be finite"),
        (np.ones((0, 3)), "`scores` must be finite"),
        (np.array([[1.0, np.nan]]), "1 of them not finite"),
        (np.ones((2, 3)), "`candidate_group` must hold one int for each of 3"),
        (np.ones((3, 2)), "first is row 2 of group 2"),
    ],
)
def test_bad_scores(scores, message):
    with pytest.raises(ValueError, match=message):
        two_way_retrieval_from_scores(scores, [0, 1], ks=(1,))


EYE = np.eye(3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((EYE, EYE[:, :2], [0, 1, 2], [0, 1, 2]), "must be equally wide"),
        ((EYE, EYE, [0, 1, 2], [0, 1, 2], (1, 4)), "number of candidates, 3"),
        ((EYE, EYE, [0, 1, 2], [0, 1, 2], (0,)), "whole numbers from 1"),
        ((EYE, EYE, [0, 1, 2], [0, 1, 2], ()), "whole numbers from 1"),
        ((EYE, EYE, [0, 7, 2], [0, 1, 2], (1,)), "first is row 1 of group 7"),
        ((EYE, EYE, [0, 1], [0, 1, 2], (1,)), "`query_group` must hold one int"),
        ((EYE, EYE, [0, 1, 2], [0.0, 1, 2], (1,)), "`candidate_group` must hold"),
        ((EYE, EYE[0], [0, 1, 2], [0], (1,)), "`candidates` must be an array of"),
        ((EYE[:0], EYE, [], [0, 1, 2], (1,)), "`queries` must be .*at least one"),
        ((EYE, EYE, [0, 1, 2], [0, 1, 2], (1,), 0), "`chunk_size` must be positive"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(*arguments)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vector_that_is_no_number_is_named(value):
    vectors = np.eye(4)
    vectors[2, 1] = value
    with pytest.raises(ValueError, match=r"`candidates` .* 1 vectors .* in row 2"):
        retrieval_metrics(np.eye(4), vectors, range(4), range(4), (1,))


def test_an_image_without_text():
    with pytest.raises(ValueError, match="first is row 1 of group 1"):
        kmmft.metrics.two_way_retrieval(np.eye(2), np.eye(2), [0, 0], ks=(1,))
