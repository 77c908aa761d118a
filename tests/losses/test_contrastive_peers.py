"""Each loss against a library or an equation that nobody here wrote."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft

losses = kmmft.losses
GOLDEN = np.load(pathlib.Path(__file__).parent / "golden" / "contrastive.npz")
IMAGE, TEXT = GOLDEN["image"], GOLDEN["text"]
LABELS = np.array([0, 0, 1, 2, 1, 3])
PEERS = {
    "info_nce": (losses.InfoNCE(), {}),  # open_clip
    "siglip": (losses.SigLIP(), {"logit_bias": -10.0}),  # open_clip
    "groups": (losses.InfoNCE(), {"groups": LABELS}),  # torch cross_entropy
    "smoothing": (losses.InfoNCE(label_smoothing=0.1), {}),  # torch cross_entropy
    "similarity_discrimination": (  # torch CosineEmbeddingLoss
        losses.SimilarityDiscrimination(weight=0.3, margin=0.1),
        {},
    ),
    "matryoshka": (  # open_clip, on cut vectors
        losses.Matryoshka(losses.InfoNCE(), dims=(8, 4, 2), weights=(1.0, 0.5, 0.25)),
        {},
    ),
    "supervised": (  # pytorch-metric-learning
        losses.SupervisedContrastive(temperature=0.2),
        {"groups": LABELS},
    ),
    "distillation": (  # open_clip and torch kl_div
        losses.Distillation(losses.InfoNCE(), weight=2.0, temperature=0.1),
        {"teachers": list(GOLDEN["teachers"])},
    ),
}


@pytest.mark.parametrize("name", PEERS)
def test_value_and_gradient_are_the_peers(name):
    loss, options = PEERS[name]
    towers = [tf.Variable(IMAGE), tf.Variable(TEXT)]
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(loss.per_pair(towers, logit_scale=14.0, **options))
    gradient = np.stack(tape.gradient(value, towers))
    np.testing.assert_allclose(value, GOLDEN[name], rtol=1e-6)
    np.testing.assert_allclose(gradient, GOLDEN[f"{name}_gradient"], atol=2e-6)


def cosines():
    image, text = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (IMAGE, TEXT))
    return image @ text.T


def hinges_of_a_query(own, others, margin, negatives):
    if negatives == "all":  # Faghri et al., eq. 5
        return sum(max(0, margin - own + other) for other in others)
    if negatives == "hardest":  # eq. 6
        return max(max(0, margin - own + other) for other in others)
    # Schroff et al.: farther than the positive; as in TensorFlow Addons, the
    # farthest of all where none is.
    farther = [other for other in others if other < own]
    return max(0, margin - own + (max(farther) if farther else min(others)))


@pytest.mark.parametrize("negatives", ["hardest", "semi_hard", "all"])
def test_triplet_is_that_of_the_papers(negatives):
    expected = np.zeros(6)
    for similarity in (cosines(), cosines().T):
        for i in range(6):
            others = [similarity[i, j] for j in range(6) if LABELS[i] != LABELS[j]]
            expected[i] += hinges_of_a_query(
                similarity[i, i], others, margin=0.3, negatives=negatives
            )
    loss = losses.Triplet(0.3, negatives).per_pair([IMAGE, TEXT], LABELS)
    np.testing.assert_allclose(loss, expected / 2, atol=1e-6)
    assert np.all(expected[[1, 3]] > 0)


def test_same_group_left_out_of_the_denominator():
    expected = np.zeros(6)
    for logits in (14 * cosines(), 14 * cosines().T):
        for i in range(6):
            counts = [j for j in range(6) if LABELS[i] != LABELS[j] or i == j]
            expected[i] += np.log(np.exp(logits[i, counts]).sum()) - logits[i, i]
    loss = losses.InfoNCE(same_group="ignore")
    result = loss.per_pair([IMAGE, TEXT], LABELS, logit_scale=14.0)
    np.testing.assert_allclose(result, expected / 2, rtol=1e-5)


@pytest.mark.parametrize("same_group, sign", [("positive", -1), ("ignore", 0)])
def test_siglip_with_groups(same_group, sign):
    logits = 10 * cosines() - 10
    same = LABELS[:, None] == LABELS
    signs = np.where(np.eye(6), -1, np.where(same, sign, 1))
    expected = np.where(signs == 0, 0, np.log1p(np.exp(signs * logits)))
    result = losses.SigLIP(same_group=same_group).per_pair([IMAGE, TEXT], LABELS)
    np.testing.assert_allclose(np.sum(result), expected.sum(), rtol=1e-5)


def test_scheduled_weight_follows_the_step():
    schedule = {0: 1.0, 5: 0.5, 10: 0.0}
    loss = losses.SimilarityDiscrimination(
        weight=keras.optimizers.schedules.PolynomialDecay(1.0, 10, 0.0)
    )
    near = 1 - np.diag(cosines())
    far = np.maximum(cosines(), 0)
    np.fill_diagonal(far, 0)
    for step, weight in schedule.items():
        expected = weight * near.mean() + (1 - weight) * far.sum() / 30
        result = np.mean(loss.per_pair([IMAGE, TEXT], step=step))
        np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_three_towers_are_the_mean_of_all_directions():
    third = IMAGE[::-1].copy()
    loss = losses.InfoNCE()
    pairs = [(IMAGE, TEXT), (IMAGE, third), (TEXT, third)]
    expected = np.mean([loss.per_pair(pair) for pair in pairs], axis=0)
    result = loss.per_pair([IMAGE, TEXT, third])
    np.testing.assert_allclose(result, expected, rtol=1e-6)
