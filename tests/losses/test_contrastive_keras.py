"""Contrastive losses as plain Keras losses, their configuration and their errors."""

import keras
import numpy as np
import pytest

import kmmft
from tests.losses.contrastive_cases import (
    CASES,
    GROUPS,
    every_loss,
    teachers_for,
    towers,
)


def test_plain_keras_use():
    images, texts = towers()
    loss = kmmft.losses.InfoNCE()
    # Neighbours that float32 cannot tell apart.
    groups = GROUPS.astype("int64") + 2**40
    expected = np.mean(loss.per_pair([images, texts], GROUPS))
    for y_pred in (np.stack([images, texts], 1), {"a": images, "b": texts}):
        np.testing.assert_allclose(loss(groups, y_pred), expected, rtol=1e-6)
    weights = np.array([1.0, 1, 1, 0, 0, 0, 0], "float32")
    rows = loss.per_pair([images, texts], GROUPS)
    np.testing.assert_allclose(
        loss(groups, [images, texts], weights), np.sum(rows[:3]) / 7, rtol=1e-6
    )


def test_plain_keras_fit():
    towers_in = keras.Input((2, 8))
    model = keras.Model(towers_in, keras.layers.Dense(4)(towers_in))
    model.compile(keras.optimizers.Adam(0.05), kmmft.losses.InfoNCE(chunk_size=3))
    x, y = np.stack(towers(), 1), np.arange(7)
    losses = model.fit(x, y, batch_size=7, epochs=8, verbose=0).history["loss"]
    expected = np.mean(kmmft.losses.InfoNCE().per_pair(np.unstack(model(x), axis=1)))
    assert losses[-1] < losses[0] / 2
    np.testing.assert_allclose(model.evaluate(x, y, verbose=0), expected, rtol=1e-5)


@every_loss
def test_config_round_trip(name):
    loss = CASES[name](chunk_size=3)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    options = {"step": 3, "teachers": teachers_for(name)}
    np.testing.assert_array_equal(
        again.per_pair(towers(), GROUPS, **options),
        loss.per_pair(towers(), GROUPS, **options),
    )
    assert again.get_config() == loss.get_config()
    assert (again.chunk_size, again.symmetric, again.joint) == (
        loss.chunk_size,
        loss.symmetric,
        loss.joint,
    )


INVALID = {
    "`label_smoothing` must be": lambda k: k.InfoNCE(label_smoothing=1.0),
    "`same_group` must be one of": lambda k: k.SigLIP(same_group="negative"),
    "`chunk_size` must be positive": lambda k: k.Triplet(chunk_size=0),
    "`negatives` must be one of": lambda k: k.Triplet(negatives="easy"),
    "`margin` must be positive": lambda k: k.Triplet(margin=0.0),
    "`margin` must be a cosine": lambda k: k.SimilarityDiscrimination(margin=1.0),
    "`weight` must be from 0": lambda k: k.SimilarityDiscrimination(weight=1.5),
    "`temperature` must be": lambda k: k.SupervisedContrastive(temperature=0.0),
    "`dims` must be one or more": lambda k: k.Matryoshka(k.InfoNCE(), ()),
    "`weights` must be one": lambda k: k.Matryoshka(k.InfoNCE(), (4,), (1, 1)),
    "`weight` must not be": lambda k: k.Distillation(k.InfoNCE(), weight=-1.0),
    "`loss` must be a contrastive": lambda k: k.Matryoshka("info_nce", (4,)),
    "`dims` must not exceed": lambda k: k.Matryoshka(k.InfoNCE(), (16,)).per_pair(
        towers()
    ),
    "needs a teacher's vectors": lambda k: k.Distillation(k.InfoNCE()).per_pair(
        towers()
    ),
    "needs the training step": lambda k: CASES["similarity_discrimination"]().per_pair(
        towers()
    ),
    "two or more towers": lambda k: k.InfoNCE().per_pair(towers()[:1]),
    "all of one shape": lambda k: k.InfoNCE().per_pair([np.eye(3), np.eye(4)]),
}


@pytest.mark.parametrize("rule", INVALID)
def test_what_cannot_work_is_refused(rule):
    with pytest.raises(ValueError, match=rule):
        INVALID[rule](kmmft.losses)
