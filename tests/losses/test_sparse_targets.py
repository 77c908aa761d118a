import keras
import numpy as np
import pytest

import kmmft

LOGITS = np.array([[2.0, -1.0, 0.5], [0.1, 0.2, 0.3]], "float32")
LABELS = np.array([0, 2])


def softmax(logits):
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def test_label_smoothing_is_that_of_the_paper():
    # Szegedy et al., 2015, section 7: q'(k) = (1 - e) [k = y] + e / K.
    targets = 0.9 * np.eye(3)[LABELS] + 0.1 / 3
    expected = -(targets * np.log(softmax(LOGITS))).sum(-1).mean()
    loss = kmmft.losses.SparseTargets(
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1), 3
    )
    assert float(loss(LABELS, LOGITS)) == pytest.approx(expected, abs=1e-6)
    assert float(loss(LABELS[:, None], LOGITS)) == pytest.approx(expected, abs=1e-6)


def test_focal_loss_is_that_of_the_paper():
    # Lin et al., 2017, equation 4: -(1 - p)^gamma log p.
    p = softmax(LOGITS)[np.arange(2), LABELS]
    expected = (-((1 - p) ** 2) * np.log(p)).mean()
    loss = kmmft.losses.SparseTargets(
        keras.losses.CategoricalFocalCrossentropy(
            alpha=1.0, gamma=2.0, from_logits=True
        ),
        3,
    )
    assert float(loss(LABELS, LOGITS)) == pytest.approx(expected, abs=1e-6)


def test_sample_weights_reach_the_wrapped_loss():
    loss = kmmft.losses.SparseTargets(
        keras.losses.CategoricalCrossentropy(from_logits=True), 3
    )
    first = float(loss(LABELS[:1], LOGITS[:1]))
    weighted = float(loss(LABELS, LOGITS, sample_weight=np.array([1.0, 0.0])))
    assert weighted == pytest.approx(first / 2, abs=1e-6)


def test_config_round_trip():
    loss = kmmft.losses.SparseTargets(
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2), 3
    )
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert float(again(LABELS, LOGITS)) == float(loss(LABELS, LOGITS))
