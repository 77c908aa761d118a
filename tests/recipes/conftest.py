"""What keeps the recipes' tests short: small encoders, and exports compared here."""

import contextlib

import keras
import keras_hub
import pytest

import kmmft
from kmmft.export import parity
from tests.export.test_export_model import answers_here

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "what", "color", "shape"]
WORDS += ["red", "green", "blue", "square", "disc", "?"]


def seeing_image_encoder(handle, image_size, **kwargs):
    """Sees colours, and shapes by the corners that run inwards: squares have none."""
    ops, layers = keras.ops, keras.layers
    image = keras.Input((image_size, image_size, 3))
    dark = 1 - image / 245
    colors = layers.GlobalAveragePooling2D(keepdims=True)(dark)
    colors = layers.LayerNormalization()(colors)
    inside = ops.minimum(ops.sum(dark, axis=-1, keepdims=True), 1.0)
    part = layers.AveragePooling2D(2, strides=1)(inside)
    corners = ops.relu(part - 0.5) - 2 * ops.relu(part - 0.75)
    corners = 600 * layers.GlobalAveragePooling2D(keepdims=True)(corners) - 2
    backbone = keras.Model(image, layers.Concatenate()([colors, corners]))
    return kmmft.encoders.ImageEncoder(
        backbone, image_size=image_size, mean=0.0, std=1.0, **kwargs
    )


def seeing_text_encoder(handle, sequence_length):
    """A vector for each word."""
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    normal = keras.initializers.RandomNormal(stddev=1.0)
    vectors = keras.layers.Embedding(len(WORDS), 16, normal)(token_ids)
    return kmmft.encoders.TextEncoder(
        keras.Model({"token_ids": token_ids}, vectors),
        keras_hub.models.BertTokenizer(WORDS, lowercase=True),
        sequence_length,
        pooling="mean",
    )


@contextlib.contextmanager
def seeing_encoders():
    """Stands in for pretrained encoders that stay frozen, of drawn shapes and WORDS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kmmft.encoders.ImageEncoder, "from_preset", seeing_image_encoder)
        patch.setattr(kmmft.encoders.TextEncoder, "from_preset", seeing_text_encoder)
        yield


@pytest.fixture
def encoders_that_see():
    with seeing_encoders():
        yield


@pytest.fixture
def tiny_encoders(monkeypatch):
    """Stands in for the pretrained encoders where their features do not matter."""

    def image_encoder(handle, image_size, **kwargs):
        shape = (image_size, image_size, 3)
        backbone = keras_hub.models.ViTBackbone(shape, image_size // 4, 1, 2, 16, 16)
        return kmmft.encoders.ImageEncoder(backbone, **kwargs)

    def text_encoder(handle, sequence_length):
        return kmmft.encoders.TextEncoder(
            keras_hub.models.BertBackbone(len(WORDS), 1, 2, 16, 16),
            keras_hub.models.BertTokenizer(WORDS, lowercase=True),
            sequence_length,
        )

    monkeypatch.setattr(kmmft.encoders.ImageEncoder, "from_preset", image_encoder)
    monkeypatch.setattr(kmmft.encoders.TextEncoder, "from_preset", text_encoder)


@pytest.fixture(scope="module", autouse=True)
def exports_compared_here():
    """A process for each export takes long: the quickstart's recipe asks in one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "answers_in_fresh_process", answers_here)
        yield
