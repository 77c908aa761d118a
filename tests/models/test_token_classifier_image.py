"""Tags of texts with an image beside them."""

import json
import pathlib

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.models import TokenClassifier
from tests.layers.references import (
    attention_block,
    dense,
    layer_norm,
    randomize,
    value,
)
from tests.models.test_fusion_classifier import png
from tests.models.test_token_classifier import TAGS, WORDS

GOLDEN = pathlib.Path(__file__).parent / "golden/token_classifier"
SENTENCES = [["Anna", "sings", "."], ["sing"]]
IMAGES = [png(40), png(220)]


def text_encoder(sequence_length=8):
    return kmmft.encoders.TextEncoder(
        keras_hub.models.BertBackbone(len(WORDS), 1, 2, 8, 16, dropout=0.0),
        keras_hub.models.BertTokenizer(WORDS, lowercase=True),
        sequence_length,
    )


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    image_encoder = kmmft.encoders.ImageEncoder(
        keras_hub.models.ViTBackbone((16, 16, 3), 8, 1, 2, 8, 16)
    )
    model = TokenClassifier(
        text_encoder(), TAGS, image_encoder=image_encoder, num_heads=1
    )
    randomize(model.get_layer("image_reader"))
    return model


def prepared(model, sentences=SENTENCES, images=IMAGES):
    records = [
        {"words": tf.constant(words), "tags": tf.zeros(len(words), tf.int64)}
        | {"image": tf.constant(image)}
        for words, image in zip(sentences, images, strict=True)
    ]
    padded = [model.pad_record(record) for record in records]
    return model.prepare_batch({k: tf.stack([p[k] for p in padded]) for k in padded[0]})


def test_logits_equal_numpy(model):
    inputs, _, weights = prepared(model)
    assert set(inputs) == {"token_ids", "padding_mask", "image"}
    logits = model(inputs).numpy()
    texts = model.encoder({k: inputs[k] for k in ("token_ids", "padding_mask")})
    images = model.image_encoder(inputs["image"])
    reader, output = model.get_layer("image_reader"), model.get_layer("logits")
    for row in range(2):
        mask = texts["mask"].numpy()[row]
        context = dense(reader.projection, value(images["tokens"])[row])
        x = value(texts["tokens"])[row]
        x = attention_block(reader.blocks["cross_0"], x, np.ones(4), context)
        x = attention_block(reader.blocks["self_0"], x, mask)
        expected = dense(output, layer_norm(reader.norm, x))
        np.testing.assert_allclose(logits[row][mask], expected[mask], atol=2e-5)
    assert weights.numpy().sum() == 4


def test_more_padding_changes_nothing(model):
    inputs, _, _ = prepared(model)
    longer = {
        "token_ids": tf.pad(inputs["token_ids"], [[0, 0], [0, 5]]),
        "padding_mask": tf.pad(inputs["padding_mask"], [[0, 0], [0, 5]]),
        "image": inputs["image"],
    }
    real = inputs["padding_mask"].numpy()
    found = model(longer).numpy()[:, :8]
    np.testing.assert_allclose(found[real], model(inputs).numpy()[real], atol=1e-5)


def test_the_image_is_read_and_learnt_from(model):
    same = [["Anna", "sings"]] * 2
    inputs, _, _ = prepared(model, same)
    dark, light = model(inputs).numpy()
    assert np.abs(dark - light)[inputs["padding_mask"].numpy()[0]].max() > 1e-3
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(inputs)[:, 1, 0])
    gradients = tape.gradient(loss, model.image_encoder.trainable_variables)
    assert max(float(tf.reduce_max(tf.abs(g))) for g in gradients) > 1e-4


def test_saved_model_tags_alike_and_trains_on(model, tmp_path):
    batch = prepared(model)
    model.compile(keras.optimizers.SGD(0.0))
    logs = model.train_on_batch(*batch, return_dict=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.num_heads == 1
    np.testing.assert_array_equal(loaded(batch[0]), model(batch[0]))
    assert loaded.train_on_batch(*batch, return_dict=True) == pytest.approx(logs)


def test_tags_are_the_likeliest(model):
    inputs, _, weights = prepared(model)
    best = model(inputs).numpy().argmax(-1)
    expected = [
        [TAGS[tag] for tag in row[real > 0]]
        for row, real in zip(best, weights.numpy(), strict=True)
    ]
    assert model.tag(SENTENCES, 1, IMAGES) == expected


def test_served_rows_fail_alone(model):
    served = model.serving_functions()
    assert list(served["tag_words"].inputs) == ["text", "image"]
    text = tf.constant(["Anna sings.", "Anna sings.", "sing"])
    image = tf.constant([IMAGES[0], b"no image", IMAGES[1]])
    answers = served["tag"].function(text=text, image=image)
    errors = answers["error"].numpy()
    assert errors[0] == errors[2] == b"" and errors[1].startswith(b"image ")
    assert answers["tags"].numpy()[1].tolist() == [b"", b"", b""]
    good = model.serve(tf.gather(text, [0, 2]), tf.gather(image, [0, 2]))
    np.testing.assert_array_equal(good["tags"], answers["tags"].numpy()[[0, 2]])


def test_plans_find_both_encoders(model):
    again = TokenClassifier.from_config(model.get_config())
    depths = kmmft.finetuning.layer_depths(again)
    parts = {}
    for path, depth in depths.items():
        parts.setdefault(path.split("/")[0], set()).add(depth)
    assert parts["image_reader"] == parts["logits"] == {max(depths.values())}
    assert len(parts["image_encoder"]) > 1 and len(parts["text_encoder"]) > 1
    applied = kmmft.finetuning.presets.gradual_unfreezing(groups=2).apply(again)
    starts = {}
    for weight in applied.weights:
        starts.setdefault(weight.path.split("/")[0], set()).add(weight.from_epoch)
    assert starts["image_reader"] == starts["logits"] == {0}
    assert starts["image_encoder"] == starts["text_encoder"] == {1, 2}


@pytest.mark.slow
def test_exported_model_answers_alike(model, tmp_path):
    raw = {"text": ["Anna sings.", "sing"], "image": IMAGES}
    path = kmmft.export.export_model(model, tmp_path, raw, version=1)
    served = kmmft.export.ask_in_fresh_process(path, raw)
    here = model.serve(tf.constant(raw["text"]), tf.constant(IMAGES))
    assert served.pop("error").tolist() == [b"", b""]
    for name, answer in served.items():
        if answer.dtype.kind == "f":
            np.testing.assert_allclose(answer, here[name], atol=1e-5)
        else:
            assert answer.tolist() == here[name].numpy().tolist()


def test_models_of_texts_alone_are_as_they_were():
    """`golden/make_token_classifier.py` saved it before images could be read."""
    expected = json.loads(GOLDEN.with_suffix(".json").read_text())
    model = keras.saving.load_model(GOLDEN.with_suffix(".keras"))
    assert [weight.path for weight in model.weights] == expected["weights"]
    tokens = np.array([[2, 5, 6, 7, 8, 9, 3, 0]])
    inputs = {"token_ids": tokens, "padding_mask": tokens > 0}
    np.testing.assert_array_equal(model(inputs), np.float32(expected["logits"]))
    assert model.image_encoder is None
    again = TokenClassifier.from_config(model.get_config())
    assert [weight.path for weight in again.weights] == expected["weights"]


def test_missing_and_needless_images(model):
    record = {"words": tf.constant(["a"]), "tags": tf.constant([0])}
    with pytest.raises(ValueError, match=r"records must have an `image`.*'words'"):
        model.pad_record(record)
    with pytest.raises(ValueError, match=r"each text needs its image\. Received: no"):
        model.tag([["a"]])
    with pytest.raises(ValueError, match="1 sentences and 2 images"):
        model.tag([["a"]], images=IMAGES)
    alone = TokenClassifier(text_encoder(), TAGS)
    with pytest.raises(ValueError, match=r"reads texts alone\. Received: images too"):
        alone.tag([["a"]], images=IMAGES[:1])
    assert set(alone.pad_record({**record, "image": IMAGES[0]})) == {"words", "tags"}
    with pytest.raises(ValueError, match=r"must be a kmmft\.encoders\.ImageEncoder"):
        TokenClassifier(text_encoder(), TAGS, image_encoder=text_encoder())
