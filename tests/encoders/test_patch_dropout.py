"""Patch dropout in the vision transformers of KerasHub."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from tests.encoders.image_backbones import BACKBONES

IMAGES = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype("float32")
TRANSFORMERS = ("vit", "deit", "dinov2", "clip", "siglip", "metaclip_2")


def encoders(name, **kwargs):
    """An encoder without and one with patch dropout, of the same weights."""
    backbone = BACKBONES[name][0]()
    without = kmmft.encoders.ImageEncoder(backbone, **kwargs)
    return without, kmmft.encoders.ImageEncoder(
        backbone, patch_dropout_rate=0.5, **kwargs
    )


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_same_weights_and_outputs_in_use_and_shorter_in_training(name):
    without, encoder = encoders(name)
    expected, outputs = without(IMAGES), encoder(IMAGES)
    for key in ("pooled", "tokens", "mask"):
        np.testing.assert_array_equal(outputs[key], expected[key])
    for ours, theirs in zip(encoder.weights, without.weights, strict=True):
        assert ours is theirs
    trained = encoder(IMAGES, training=True)
    assert trained["tokens"].shape == (3, 2, 8)  # of 4
    assert trained["pooled"].shape == (3, 8)
    assert np.abs(trained["pooled"] - expected["pooled"]).max() > 1e-4


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_every_pooling_in_fit(pooling):
    encoder = encoders("clip", pooling=pooling)[1]
    model = keras.Sequential([encoder, head()])
    model.compile("sgd", "mse")
    model.fit(IMAGES, np.zeros((3, 1)), epochs=2, verbose=0)
    assert model.predict(IMAGES, verbose=0).shape == (3, 1)


def head():
    return keras.layers.Lambda(lambda outputs: outputs["pooled"][:, :1])


def test_training_sees_what_a_shorter_sequence_gives():
    # Dropping patches is running the later layers on the kept tokens alone.
    backbone = BACKBONES["vit"][0]()
    twin = kmmft.encoders.with_patch_dropout(backbone, rate=0.5)
    dropout = next(x for x in twin.layers if type(x).__name__ == "PatchDropout")
    embedding = next(x for x in backbone.layers if "embedding" in x.name)
    rest = next(x for x in backbone.layers if "encoder" in x.name)
    dropout.seed_generator.state.assign([5, 0])
    result = twin(IMAGES, training=True)
    dropout.seed_generator.state.assign([5, 0])
    expected = rest(dropout(embedding(IMAGES), training=True), training=True)
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_frozen_encoder_keeps_all_patches():
    without, encoder = encoders("vit")
    encoder.trainable = False
    np.testing.assert_array_equal(
        encoder(IMAGES, training=True)["pooled"], without(IMAGES)["pooled"]
    )


def test_config_and_weights_round_trip(tmp_path):
    encoder = encoders("siglip")[1]
    encoder.save(tmp_path / "encoder.keras")
    again = keras.saving.load_model(tmp_path / "encoder.keras")
    assert again.patch_dropout_rate == 0.5
    np.testing.assert_allclose(
        again(IMAGES)["pooled"], encoder(IMAGES)["pooled"], atol=1e-6
    )
    assert again(IMAGES, training=True)["tokens"].shape == (3, 2, 8)


def test_export_keeps_all_patches(tmp_path):
    encoder = encoders("vit")[1]
    encoder.export(tmp_path / "export", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "export")
    served = loaded.serve(IMAGES)
    np.testing.assert_allclose(served["tokens"], encoder(IMAGES)["tokens"], atol=1e-5)


@pytest.mark.parametrize("name", ["resnet", "swin", "dinov3"])
def test_backbones_without_patch_tokens_are_refused(name):
    with pytest.raises(ValueError, match="Patch dropout needs one of"):
        encoders(name)
