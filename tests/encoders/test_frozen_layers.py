import keras
import keras_hub
import pytest

import kmmft

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]


def vit():
    return keras_hub.models.ViTBackbone((32, 32, 3), 16, 1, 2, 8, 16)


def image():
    return kmmft.encoders.ImageEncoder(vit())


def text():
    return kmmft.encoders.TextEncoder(
        keras_hub.models.BertBackbone(6, 1, 2, 8, 16),
        keras_hub.tokenizers.BertTokenizer(WORDS, lowercase=True),
        sequence_length=5,
    )


def video():
    return kmmft.encoders.VideoEncoder(image(), num_frames=2)


def trained_around(encoder: keras.Model) -> int:
    """Number of weights that a model with a head above the encoder trains."""
    head = keras.layers.Dense(1)
    outputs = head(encoder(encoder.input)["pooled"])
    return len(keras.Model(encoder.input, outputs).trainable_weights)


@pytest.mark.parametrize("make", [image, text, video])
def test_frozen_encoders_come_back_frozen(make):
    encoder = make()
    encoder.trainable = False
    assert trained_around(type(encoder).from_config(encoder.get_config())) == 2


def test_a_frozen_backbone_comes_back_frozen():
    backbone = vit()
    encoder = kmmft.encoders.ImageEncoder(backbone, projection=keras.layers.Dense(4))
    backbone.trainable = False
    expected = trained_around(encoder)
    again = kmmft.encoders.ImageEncoder.from_config(encoder.get_config())
    assert again.trainable and trained_around(again) == expected < 8


def test_a_loaded_model_trains_what_it_trained(tmp_path):
    encoders = {"image": image(), "text": text()}
    encoders["image"].trainable = False
    model = kmmft.models.DualEncoder(encoders, projection_dim=4)
    model.compile("adam")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    names = [variable.path for variable in model.trainable_variables]
    assert [variable.path for variable in loaded.trainable_variables] == names
