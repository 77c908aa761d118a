import keras
import keras_hub
import numpy as np
import pytest

import kmmft
from kmmft.evaluation.layer_similarity import linear_cka, pooled_outputs


def features(seed, width, examples=20):
    return np.random.default_rng(seed).normal(1.0, 2.0, (examples, width))


def in_feature_space(x, y):
    """Kornblith et al., 2019, eq. 2: by covariances, not by Gram matrices."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    own = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return np.linalg.norm(y.T @ x) ** 2 / own


def unbiased_hsic(k, l):  # noqa: E741
    """Nguyen et al., 2021, eq. 3, word for word."""
    n, ones = len(k), np.ones(len(k))
    k, l = k * (1 - np.eye(n)), l * (1 - np.eye(n))  # noqa: E741
    inner = np.trace(k @ l) + (ones @ k @ ones) * (ones @ l @ ones) / (
        (n - 1) * (n - 2)
    )
    return (inner - 2 / (n - 2) * ones @ k @ l @ ones) / (n * (n - 3))


def test_cka_is_that_of_the_paper():
    x, y = features(0, 5), features(1, 7)
    y[:, :3] += x[:, :3]
    assert linear_cka(x, y) == pytest.approx(in_feature_space(x, y), rel=1e-12)
    assert 0.05 < linear_cka(x, y) < 0.95


def test_cka_sees_no_rotation_scale_or_shift():
    x = features(0, 5)
    rotation, _ = np.linalg.qr(features(2, 5, examples=5))
    assert linear_cka(x, 3 * x @ rotation + 7) == pytest.approx(1.0, abs=1e-12)
    assert linear_cka(x, x @ np.diag([9.0, 1, 1, 1, 1])) < 0.9


def test_debiased_cka_is_that_of_the_paper():
    x, y = features(0, 5, 8), features(1, 30, 8)
    k, l = x @ x.T, y @ y.T  # noqa: E741
    own = unbiased_hsic(k, k) * unbiased_hsic(l, l)
    expected = unbiased_hsic(k, l) / np.sqrt(own)
    assert linear_cka(x, y, debiased=True) == pytest.approx(expected, rel=1e-9)
    # What has nothing to do with each other looks alike with few wide examples.
    assert linear_cka(x, y) > 0.3 > linear_cka(x, y, debiased=True)


def test_constant_features_have_no_cka():
    assert np.isnan(linear_cka(np.ones((4, 2)), features(0, 2, 4)))


@pytest.mark.parametrize(
    "x, y, debiased",
    [
        (np.ones((4, 2)), np.ones((5, 2)), False),
        (np.ones(4), np.ones(4), False),
        (np.ones((2, 2)), np.ones((2, 2)), False),
        (np.ones((3, 2)), np.ones((3, 2)), True),
    ],
)
def test_features_that_cannot_be_compared(x, y, debiased):
    with pytest.raises(ValueError, match=r"Received: shapes \("):
        linear_cka(x, y, debiased)


def test_images_are_pooled_over_pixels_and_batches_joined():
    image = keras.Input((4, 4, 1))
    maps = keras.layers.Conv2D(3, 1, name="maps")(image)
    model = keras.Model(image, keras.layers.Flatten(name="flat")(maps))
    x = np.random.default_rng(0).normal(size=(5, 4, 4, 1)).astype("float32")
    found = pooled_outputs(model, x, ["maps", "flat"], batch_size=2)
    kernel, bias = model.get_layer("maps").get_weights()
    np.testing.assert_allclose(
        found["maps"], x.mean(axis=(1, 2)) @ kernel[0, 0] + bias, atol=1e-6
    )
    np.testing.assert_allclose(found["flat"], model(x), atol=1e-6)
    assert "call" not in vars(model.get_layer("maps"))


def test_padding_is_left_out():
    backbone = keras_hub.models.BertBackbone(11, 1, 2, 8, 16)
    ids = np.array([[1, 2, 3, 0], [4, 5, 0, 0], [6, 7, 8, 9]])
    batch = {
        "token_ids": ids,
        "segment_ids": np.zeros_like(ids),
        "padding_mask": ids > 0,
    }
    found = pooled_outputs(backbone, batch, ["transformer_layer_0"])
    tokens = backbone(batch)["sequence_output"].numpy()
    expected = [row[mask].mean(axis=0) for row, mask in zip(tokens, ids > 0)]  # noqa: B905
    np.testing.assert_allclose(found["transformer_layer_0"], expected, atol=1e-6)


def test_parts_of_a_model():
    measured = kmmft.evaluation.measured_layers.measured_layers
    backbone = keras_hub.models.BertBackbone(11, 2, 2, 8, 16)
    assert measured(backbone, "transformer*") == [
        "transformer_layer_0",
        "transformer_layer_1",
    ]
    with pytest.raises(ValueError, match=r"'transfomer\*'.*Near names"):
        measured(backbone, "transfomer*")
