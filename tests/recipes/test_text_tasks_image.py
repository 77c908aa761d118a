"""Text tasks with an image beside the text."""

import dataclasses
import json

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
import tfrecords_tools
from kmmft.data.colored_shapes import COLORS, SHAPES, TIMES
from kmmft.data.template_texts import FIRST_NAMES
from recipes import text_tasks
from recipes.texts import classifying, described_shapes, tagging
from tests.recipes.test_text_tasks import plain_export, served  # noqa: F401

SMOKE = text_tasks.PRESETS["smoke_image"]


def words():
    spoken = " ".join((*described_shapes.PATTERNS, "a seen at")).replace("{", " ")
    found = {*spoken.lower().split(), *map(str.lower, FIRST_NAMES), *COLORS}
    return [*sorted(found | {*SHAPES, *TIMES}), "1"]


@pytest.fixture(autouse=True)
def tiny_encoders(monkeypatch):
    """Stand in for the pretrained encoders, and learn in seconds."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words()]

    def text(cls, handle, sequence_length, **kwargs):
        inputs = {
            "token_ids": keras.Input((None,), dtype="int32", name="token_ids"),
            "padding_mask": keras.Input((None,), dtype="bool", name="padding_mask"),
        }
        x = keras.layers.Embedding(len(vocabulary), 32)(inputs["token_ids"])
        # A shape is told of the picture's by the colour before it.
        x = keras.layers.Conv1D(32, 3, padding="same")(x)
        return cls(
            keras.Model(inputs, x),
            keras_hub.models.BertTokenizer(vocabulary, lowercase=True),
            sequence_length,
            pooling="mean",
            **kwargs,
        )

    def image(cls, handle, image_size):
        pixels = keras.Input((image_size, image_size, 3))
        x = keras.layers.AveragePooling2D(2)(pixels)
        for width in (16, 32):
            x = keras.layers.Conv2D(width, 3, 2, "same", activation="relu")(x)
        return cls(keras.Model(pixels, x), image_size, mean=127.0, std=64.0)

    # A TextPairEncoder inherits the text encoder's.
    for kind, make in {"TextEncoder": text, "ImageEncoder": image}.items():
        encoder = getattr(kmmft.encoders, kind)
        monkeypatch.setattr(encoder, "from_preset", classmethod(make))


def run(folder, **changes):
    options = {"train_text_encoder": True, "train_image_encoder": True}
    options |= {"output_dir": str(folder), "image_size": 32}
    metrics = text_tasks.main(dataclasses.replace(SMOKE, **options, **changes))
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    return metrics


@pytest.mark.slow
@pytest.mark.usefixtures("plain_export")
def test_words_are_tagged_by_the_picture(tmp_path):
    changes = {"num_layers": 1, "num_heads": 2, "learning_rate": 5e-3}
    metrics = run(tmp_path, epochs=5, **changes)
    blind = max(metrics["grey_images/entity_f1"], metrics["images_of_others/entity_f1"])
    # Who tags all three shapes of a sentence reaches 0.5.
    assert metrics["test/entity_f1"] > 0.7 > 0.5 > blind
    model = keras.saving.load_model(tmp_path / "model.keras")
    source = kmmft.data.open_source(tmp_path / "data/sentences/1.0.0")
    config = dataclasses.replace(SMOKE, output_dir=str(tmp_path))
    tested = tagging.Sentences.read(config, source, "test")
    found = model.tag(tested.words, images=tested.images)
    scores = kmmft.metrics.entity_metrics(tested.tags, found)
    assert scores["entity_f1"] == metrics["test/entity_f1"]
    texts = [" ".join(sentence) for sentence in tested.words[:5]]
    answers = served(tmp_path)(
        text=tf.constant([*texts, texts[0]]),
        image=tf.constant([*tested.images[:5], b"broken"]),
    )
    assert answers["error"].numpy().tolist()[:5] == [b""] * 5
    assert answers["error"].numpy()[5].startswith(b"image ")
    for row, right in zip(answers["tags"].numpy(), found[:5], strict=False):
        assert [tag.decode() for tag in row if tag] == right
    report = (tmp_path / "report.html").read_text()
    assert "its images grey" in report and "data:image/png" in report


@pytest.mark.slow
@pytest.mark.usefixtures("plain_export")
def test_texts_are_classified_with_their_pictures(tmp_path):
    """The label has the picture's colour and the text's time of day."""
    metrics = run(
        tmp_path,
        task="classify",
        epochs=4,
        hidden_dim=32,
        num_heads=2,
        learning_rate=1e-2,
    )
    # Who sees one side only knows two or three classes of six apart.
    assert metrics["test/accuracy"] > 0.9
    model = kmmft.models.load_fusion_classifier(tmp_path)
    source = kmmft.data.open_source(tmp_path / "data/texts/1.0.0")
    raw = model.raw_columns(kmmft.data.first_records(source, "test", 4))
    assert set(raw) == {"image", "text"}
    answers = served(tmp_path)(**{name: tf.constant(x) for name, x in raw.items()})
    assert answers["label"].numpy().tolist() == model.classify(raw)["label"].tolist()
    assert "data:image/png" in (tmp_path / "report.html").read_text()


def write_rated(folder):
    kmmft.data.write_colored_shapes(folder, image_size=32)
    files = sorted(file.name for file in folder.glob("t*.png"))[:12]
    splits = ["test", "validation", *["train"] * 4] * 2
    rows = [f"{f},a red,seen at,{n},{splits[n]}" for n, f in enumerate(files)]
    (folder / "rated.csv").write_text("\n".join(["image,a,b,label,split", *rows]))
    return folder / "rated.csv"


def test_numbers_of_pairs_with_pictures(tmp_path):
    config = dataclasses.replace(
        SMOKE,
        task="regress",
        files=str(write_rated(tmp_path)),
        image_column="image",
        text_column="a",
        text_pair_column="b",
        split_column="split",
        output_dir=str(tmp_path / "run"),
        hidden_dim=8,
        image_size=32,
        batch_size=4,
    )
    source = classifying.open_data(config)
    model = classifying.build_model(config, source, np.array([2.0, 4.0]))
    batches = classifying.build_data(config, source, "train", model, start_step=0)
    inputs, numbers = next(iter(batches))
    assert {*inputs} >= {"image", "token_ids", "padding_mask"}
    assert inputs["image"].shape == (4, 32, 32, 3)
    assert model(inputs).shape == (4, 1) and numbers.dtype == tf.float32
    records = kmmft.data.first_records(source, "test", 2)
    values = model.classify(classifying.raw_columns(model, records))["values"]
    inputs, _ = next(iter(classifying.build_data(config, source, "test", model)))
    np.testing.assert_allclose(values, model(inputs), atol=1e-5)
    blind = dataclasses.replace(config, use_image=False)
    model = classifying.build_model(blind, source, np.array([2.0, 4.0]))
    inputs, _ = next(iter(classifying.build_data(blind, source, "test", model)))
    assert "image" not in inputs and model.fusion is None


def test_images_that_cannot_be_decoded_are_named(tmp_path):
    features = kmmft.data.schema.tagged(["O", "B-X"], image=True)
    png = tf.io.encode_png(tf.zeros((4, 4, 3), tf.uint8)).numpy()
    with tfrecords_tools.DatasetWriter(tmp_path, "tagged", features) as writer:
        for name, image in {"good": png, "bad": png[:-20]}.items():
            record = {"id": name, "words": ["a"], "tags": [1], "image": image}
            writer.write("test", record)
    source = kmmft.data.open_source(tmp_path / "tagged/1.0.0")
    with pytest.raises(ValueError, match=r"1 of 2, the first: The image 'bad' cannot"):
        tagging.Sentences.read(SMOKE, source, "test")
    some = dataclasses.replace(SMOKE, max_bad_fraction=0.5)
    assert tagging.Sentences.read(some, source, "test").ids == ["good"]
    blind = dataclasses.replace(SMOKE, use_image=False)
    assert tagging.Sentences.read(blind, source, "test").ids == ["good", "bad"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_column": "image"}, r"`--image_column` is a column.*--task tag"),
        (
            {"image_folder": "x", "task": "classify"},
            r"`--image_folder` goes with.*--task classify",
        ),
        ({"task": "answer"}, "`--files shapes` is made for classify and tag"),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMOKE, **changes)
