"""Models that were saved compiled go on training as if they had not been."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from tests.models import test_question_answerer as answering
from tests.models import test_token_classifier as tagging
from tests.models.test_fusion_classifier import batch_of, make_model
from tests.models.test_fusion_generator import make_model as make_generator


def classifier():
    model = make_model(["question"])
    loss = model.default_loss(label_smoothing=0.1, focal_gamma=2.0)
    return model, {"loss": loss}, (batch_of(model), np.array([0, 2, 1, 0]))


def generator():
    model = make_generator(["question"])
    raw = {"question": tf.constant(["what", "a cat", "", "red"])}
    texts = tf.constant(["a red cat", "what", "cat", "a"])
    return model, {}, model.teach(model.preprocess(raw), texts)


def tagger():
    encoder = kmmft.encoders.TextEncoder(*backbone(tagging.WORDS), 8)
    model = kmmft.models.TokenClassifier(encoder, tagging.TAGS, dropout_rate=0.0)
    words = tagging.padded(model, ["Anna", "sings", "."], [1, 0, 2])
    metrics = [keras.metrics.SparseTopKCategoricalAccuracy(2, name="top_2")]
    return model, {"metrics": metrics}, model.prepare_batch(words)


def answerer():
    encoder = kmmft.encoders.TextPairEncoder(*backbone(answering.WORDS), 12)
    model = kmmft.models.QuestionAnswerer(encoder, 3, 3, dropout_rate=0.0)
    return model, {}, model.prepare_batch(answering.batch(model, "1 Anna.", "Anna", 2))


def backbone(words):
    keras.utils.set_random_seed(0)
    bert = keras_hub.models.BertBackbone(len(words), 1, 2, 8, 16, dropout=0.0)
    return bert, keras_hub.models.BertTokenizer(words, lowercase=True)


@pytest.mark.parametrize("make", [classifier, generator, tagger, answerer])
def test_training_goes_on(make, tmp_path):
    model, options, batch = make()
    model.compile(kmmft.training.adamw(0.01, total_steps=9), **options)
    step = tf.data.Dataset.from_tensors(batch)
    model.fit(step.repeat(2), verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert int(again.optimizer.iterations) == 2
    expected = model.evaluate(step, verbose=0, return_dict=True)
    assert again.evaluate(step, verbose=0, return_dict=True) == pytest.approx(expected)
    assert len(expected) == 2
    before = np.array(model.trainable_weights[0])
    for one in (model, again):
        one.fit(step, verbose=0)
    for ours, theirs in zip(again.weights, model.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-7)
    assert np.abs(before - model.trainable_weights[0]).max() > 1e-4
