import logging
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.evaluation import RetrievalEvaluator, encode_records
from tests.evaluation.towers import (
    CAPTIONED,
    ColourModel,
    captioned,
    make_model,
    training_data,
    write_captioned,
)

FEATURES = {"image": "image", "text": "captions"}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return kmmft.data.open_source(write_captioned(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return make_model()


def test_numbers_by_hand(source):
    evaluator = RetrievalEvaluator(source, "test", ks=(1, 2), batch_size=3)
    metrics = evaluator.evaluate(ColourModel())
    # Captions 0 to 6: all but "a grey photo" lie on their image. That one has three
    # images that are alike before and around it: grey is first, blue is one of three
    # tied for second.
    assert metrics["text_to_image/recall_at_1"] == pytest.approx(6 / 7)
    assert metrics["text_to_image/recall_at_2"] == pytest.approx((6 + 1 / 3) / 7)
    assert metrics["text_to_image/mean_rank"] == pytest.approx((6 * 1 + 3) / 7)
    # The grey image has its own caption and the wrong one in front, tied.
    assert metrics["image_to_text/recall_at_1"] == pytest.approx((3 + 1 / 2) / 4)
    assert metrics["image_to_text/recall_at_2"] == 1.0


def test_whats_encoded_is_what_the_records_say(source, model):
    encoded = encode_records(model, source, "test", FEATURES, batch_size=3)
    texts = [caption for record in CAPTIONED for caption in record["captions"]]
    assert encoded.texts == {"text": texts}
    assert encoded.ids == ["r0", "r1", "r2", "r3"]
    assert encoded.record_of["text"].tolist() == [0, 0, 1, 2, 2, 2, 3]
    assert encoded.record_of["image"].tolist() == [0, 1, 2, 3]
    alone = [model.encode("text", [text])[0] for text in texts]
    np.testing.assert_allclose(encoded.vectors["text"], alone, atol=1e-5)
    alone = [model.encode("image", [record["image"]])[0] for record in CAPTIONED]
    np.testing.assert_allclose(encoded.vectors["image"], alone, atol=1e-5)


def colour_model():
    """Learns nothing, but goes through `fit`."""
    colours = ColourModel()
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.encode, model.decode_record = colours.encode, colours.decode_record
    model.compile("sgd", loss="mse")
    return model


def fit(model, evaluator, epochs=1, callbacks=()):
    return model.fit(
        np.ones((4, 1)),
        np.ones((4, 1)),
        epochs=epochs,
        callbacks=[evaluator, *callbacks],
        verbose=0,
    ).history


class Seen(keras.callbacks.Callback):
    """A callback that comes after the evaluator."""

    def __init__(self):
        super().__init__()
        self.values = []

    def on_epoch_end(self, epoch, logs=None):
        self.values.append(logs["val_mean_recall"])


def test_its_numbers_are_in_the_logs_of_fit(source):
    model = colour_model()
    evaluator = RetrievalEvaluator(source, "test", ks=(1, 2), batch_size=5)
    seen = Seen()
    history = fit(model, evaluator, callbacks=[seen])
    expected = evaluator.evaluate(model)
    assert history["val_mean_recall"] == seen.values == [expected["mean_recall"]]
    assert set(history) == {"loss"} | {f"val_{k}" for k in expected}
    assert evaluator.metric_names() == [*expected]


def test_epochs_between_are_no_numbers(source):
    evaluator = RetrievalEvaluator(
        source, "test", ks=(1,), every_epochs=2, prefix="v/", batch_size=5
    )
    history = fit(colour_model(), evaluator, epochs=3)["v/mean_recall"]
    assert [math.isnan(value) for value in history] == [True, False, True]


def test_monitor_of_a_resumable_run(source, tmp_path):
    model = colour_model()
    evaluator = RetrievalEvaluator(
        source, "test", ks=(1, 2), every_epochs=2, batch_size=5
    )
    data = tf.data.Dataset.from_tensors((tf.ones((4, 1)), tf.ones((4, 1))))
    with kmmft.training.RunDirectory(tmp_path, kmmft.training.RecipeConfig()) as run:
        kmmft.training.resumable_fit(
            model,
            lambda step: data.repeat(),
            run=run,
            steps_per_epoch=1,
            epochs=2,
            monitor="val_mean_recall",
            callbacks=[evaluator],
            verbose=0,
        )
        first, second = run.history()
    assert math.isnan(first["val_mean_recall"])
    assert second["val_mean_recall"] == evaluator.evaluate(model)["mean_recall"]


def test_two_replicas(source, two_replicas, model):
    with two_replicas.scope():
        mirrored = make_model()
    mirrored.compile(keras.optimizers.SGD(0.01), loss=kmmft.losses.InfoNCE())
    evaluator = RetrievalEvaluator(source, "test", ks=(1, 2), batch_size=3)
    images, texts = training_data()
    inputs = mirrored.preprocess({"image": tf.constant(images), "text": texts})
    data = tf.data.Dataset.from_tensors((inputs, tf.range(4, dtype=tf.int64)))
    fitted = mirrored.fit(data, callbacks=[evaluator], shuffle=False, verbose=0)
    model.set_weights(mirrored.get_weights())
    expected = evaluator.evaluate(model)["mean_recall"]
    assert fitted.history["val_mean_recall"] == [pytest.approx(expected)]
    several, one = evaluator.encode(mirrored), evaluator.encode(model)
    for modality in ("image", "text"):
        np.testing.assert_allclose(
            several.vectors[modality], one.vectors[modality], atol=1e-6
        )


@pytest.mark.parametrize("captions", [[], ["red dot", " "]])
def test_a_record_without_words_is_named(captions, tmp_path):
    records = [*CAPTIONED, captioned("bad one", "red", *captions)]
    evaluator = RetrievalEvaluator(write_captioned(tmp_path, records), "test", ks=(1,))
    with pytest.raises(ValueError, match=r"captions=.* in the record 'bad one'"):
        evaluator.evaluate(ColourModel())


def test_a_bad_image_is_logged_and_left_out(tmp_path, caplog):
    bad = {"id": "torn", "image": b"no image", "captions": ["red dot"]}
    path = write_captioned(tmp_path, [CAPTIONED[0], bad, *CAPTIONED[1:]])
    with caplog.at_level(logging.WARNING):
        encoded = encode_records(ColourModel(), path, "test", FEATURES, batch_size=2)
    assert encoded.ids == ["r0", "r1", "r2", "r3"]
    assert "torn" in caplog.text
    assert len(encoded.texts["text"]) == 7


class LengthModel:
    """Texts on both sides, as vectors of their lengths."""

    def decode_record(self, record):
        return record

    def encode(self, modality, raw, batch_size):
        return np.array([[len(text), 9] for text in raw], "f4")


def test_other_modalities(source):
    features = {"name": "id", "words": "captions"}
    evaluator = RetrievalEvaluator(source, "test", features=features, ks=(1,))
    assert "name_to_words/recall_at_1" in evaluator.evaluate(LengthModel())
    swapped = {"words": "captions", "name": "id"}
    evaluator = RetrievalEvaluator(source, "test", features=swapped, ks=(1,))
    with pytest.raises(ValueError, match="7 values of 'words'"):
        evaluator.evaluate(LengthModel())


class ClipModel(ColourModel):
    """Its images are decoded to dicts, as videos are with their masks."""

    def decode_record(self, record):
        decoded = super().decode_record(record)
        frames = {"clip": decoded["image"], "clip_mask": tf.constant([True, False])}
        return {**record, "clip": frames}

    def encode(self, modality, raw, batch_size):
        if modality != "clip":
            return super().encode(modality, raw, batch_size)
        assert raw["clip_mask"].tolist() == [[True, False]] * len(raw["clip"])
        return super().encode("image", raw["clip"], batch_size)


def test_what_is_decoded_to_a_dict(source):
    features = {"clip": "image", "text": "captions"}
    evaluator = RetrievalEvaluator(
        source, "test", features=features, ks=(1,), batch_size=3
    )
    metrics = evaluator.evaluate(ClipModel())
    assert metrics["text_to_clip/recall_at_1"] == pytest.approx(6 / 7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ks": (5,)}, "number of records, 4"),
        ({"ks": ()}, "Received: ks=\\(\\)"),
        ({"features": {"image": "image"}}, "between two modalities"),
        ({"every_epochs": 0}, "`every_epochs` must be at least 1"),
    ],
)
def test_bad_arguments(arguments, message, source):
    with pytest.raises(ValueError, match=message):
        RetrievalEvaluator(source, "test", **{"ks": (1,), **arguments})


def test_missing_features(source):
    with pytest.raises(
        ValueError, match=r"no text among \['captions', 'id', 'image'\]"
    ):
        encode_records(ColourModel(), source, "test", {"text": "text"})
