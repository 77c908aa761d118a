"""The smallest model with an image tower and a text tower, and records for it."""

import keras_hub
import numpy as np
import tensorflow as tf

import kmmft
from tests.data.conftest import encode, write_records

WORDS = ["red", "green", "blue", "grey", "dot", "a", "photo", "of"]
COLOURS = {
    "red": (220, 30, 30),
    "green": (20, 150, 60),
    "blue": (40, 60, 220),
    "grey": (128, 128, 128),
}


def make_model():
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = specials + WORDS
    return kmmft.models.DualEncoder(
        encoders={
            "image": kmmft.encoders.ImageEncoder(
                keras_hub.models.ViTBackbone((16, 16, 3), 8, 1, 2, 8, 16)
            ),
            "text": kmmft.encoders.TextEncoder(
                keras_hub.models.BertBackbone(len(words), 1, 2, 8, 16),
                keras_hub.models.BertTokenizer(words, lowercase=True),
                sequence_length=6,
            ),
        },
        projection_dim=6,
    )


class ColourModel:
    """Stands where a model does: one-hot vectors by the colour that is seen or read."""

    logit_scale = 10.0

    def decode_record(self, record):
        pixels = kmmft.data.decode_image(record["image"], 8)
        return {**record, "image": pixels}

    def encode(self, modality, raw, batch_size):
        assert len(raw) <= batch_size or modality == "text"
        if modality == "image":
            means = np.mean(raw, axis=(1, 2))[:, np.newaxis]
            colours = np.array([*COLOURS.values()])
            numbers = np.abs(means - colours).sum(axis=-1).argmin(axis=1)
        else:
            numbers = [
                next((i for i, c in enumerate(COLOURS) if c in text), 0) for text in raw
            ]
        return np.eye(len(COLOURS), dtype="f4")[numbers]

    def zero_shot_classifier(self, class_names, templates):
        prompts = [templates[0].replace("{}", name) for name in class_names]
        return self.encode("text", prompts, 64)


def picture(colour):
    random = np.random.default_rng(len(colour))
    noise = random.integers(-9, 10, (8, 8, 3))
    pixels = np.clip(np.array(COLOURS[colour]) + noise, 0, 255)
    return encode(pixels.astype(np.uint8))


def captioned(name, colour, *captions):
    return {"id": name, "image": picture(colour), "captions": list(captions)}


CAPTIONED = [
    captioned("r0", "red", "red dot", "a red dot"),
    captioned("r1", "green", "green dot"),
    # Its second caption says the wrong colour.
    captioned("r2", "blue", "blue dot", "a grey photo", "photo of blue"),
    captioned("r3", "grey", "grey dot"),
]


def write_captioned(directory, records=None, name="captioned"):
    records = CAPTIONED if records is None else records
    return write_records(
        directory, kmmft.data.schema.image_text(), {"test": records}, name=name
    )


def write_labelled(directory, colours, labels, class_names):
    features = kmmft.data.schema.labelled(text=False, class_names=class_names)
    records = [
        {"id": f"r{i}", "image": picture(colour), "label": label}
        for i, (colour, label) in enumerate(zip(colours, labels, strict=True))
    ]
    return write_records(directory, features, {"test": records}, name="labelled")


def training_data():
    """Batches that a `DualEncoder` can be fitted on."""
    images = np.stack([np.full((16, 16, 3), c, "f4") for c in COLOURS.values()])
    return images, tf.constant([f"{name} dot" for name in COLOURS])
