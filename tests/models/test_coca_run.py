"""CoCa from records on disk to a served model, on drawn shapes and their captions."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
import tfrecords_tools
from kmmft.export import parity
from tests.export.test_export_model import answers_here

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]
WORDS += ["red", "green", "blue", "square", "disc"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coca")
    built = tfrecords_tools.build_manifest(
        manifest=kmmft.data.write_colored_shapes(folder / "pictures"),
        output_dir=folder,
        name="shapes",
        image_column="image",
        caption_column="caption",
        split_column="split",
    )
    return kmmft.data.open_source(built.directory)


def make_model():
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(32, 8, strides=8, activation="relu")(image / 255.0)
    return kmmft.models.CoCa(
        kmmft.encoders.ImageEncoder(keras.Model(image, x), image_size=32),
        kmmft.models.CrossAttentionDecoder(
            len(WORDS), 32, 1, 2, max_length=5, num_text_layers=1
        ),
        keras_hub.tokenizers.BertTokenizer(WORDS, lowercase=True),
        max_length=5,
        projection_dim=16,
        num_queries=4,
    )


def training_data(source, model):
    def preprocess(record):
        caption = kmmft.data.choose_caption(record["captions"])
        group = tf.strings.to_hash_bucket_fast(caption, 2**40)
        decoded = model.decode_record({"image": record["image"]})
        return {**decoded, "text": caption, "example_group": group}

    return kmmft.data.build_dataset(
        source,
        split="train",
        preprocess=preprocess,
        batch_preprocess=model.prepare_batch,
        batch_size=32,
        training=True,
        seed=0,
    )


@pytest.mark.slow
def test_trained_on_records_and_served(source, tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "answers_in_fresh_process", answers_here)
    model = make_model()
    model.compile(keras.optimizers.Adam(3e-3))
    model.fit(training_data(source, model), steps_per_epoch=120, verbose=0)
    records = kmmft.data.first_records(source, "test", 48)
    images = [record["image"] for record in records]
    truth = [record["captions"][0].decode() for record in records]
    colors = [caption.split()[1] for caption in truth]
    # The colour is one of three, in what is written and in what is compared.
    written = model.caption(images)
    right = [f" {color} " in text for color, text in zip(colors, written, strict=True)]
    assert np.mean(right) > 0.9
    names = ["red", "green", "blue"]
    classes = model.zero_shot_classifier(names, ["a {} disc", "a {} square"])
    nearest = model.similarity(model.encode_image(images), classes).argmax(1)
    assert np.mean([names[n] == c for n, c in zip(nearest, colors, strict=True)]) > 0.9
    raw = {"image": images[:3], "text": truth[:3]}
    path = kmmft.export.export_model(model, tmp_path / "export", raw)
    served = tf.saved_model.load(str(path)).signatures
    assert {"caption", "encode_image", "encode_text", "rank"} <= set(served)
    answers = served["caption"](image=tf.constant(images))
    assert [text.decode() for text in answers["text"].numpy()] == written
