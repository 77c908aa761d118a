"""An audio tower beside a text tower, and alone: the same models as with images."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.finetuning import Plan, Rule
from tests.data.sounds import sound_file, tone

LOW, HIGH = (sound_file(tone(samples=3000, frequency=f)) for f in (300.0, 3000.0))
FLAC = sound_file(tone(), kind="FLAC")


def audio_encoder(**options):
    log_mel = kmmft.layers.LogMel(num_mels=16)
    return kmmft.encoders.AudioEncoder.from_scratch(0.4, log_mel, (4, 4), 8, **options)


def text_encoder():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]
    return kmmft.encoders.TextEncoder(
        keras_hub.models.BertBackbone(7, 1, 2, 8, 16),
        keras_hub.models.BertTokenizer(words, lowercase=True),
        sequence_length=4,
    )


@pytest.fixture(scope="module")
def classifier():
    keras.utils.set_random_seed(5)
    return kmmft.models.FusionClassifier(
        {"audio": audio_encoder(), "text": text_encoder()},
        fusion=kmmft.layers.GatedFusion(4),
        class_names=["no", "yes"],
        missing_modalities=True,
    )


def make_dual_encoder():
    keras.utils.set_random_seed(5)
    augment = kmmft.layers.SpecAugment(1, 5, 1, 3, seed=1)
    return kmmft.models.DualEncoder(
        {"audio": audio_encoder(spec_augment=augment), "text": text_encoder()},
        projection_dim=5,
    )


@pytest.fixture(scope="module")
def dual_encoder():
    return make_dual_encoder()


def test_inputs_are_named_by_the_modality(dual_encoder):
    assert dual_encoder.input_names_of("audio") == ["audio", "audio_mask"]
    spec = dual_encoder.serving_inputs()["audio"]
    assert spec.shape.as_list() == [None] and spec.dtype == tf.string


def test_records_are_decoded_batched_and_encoded_as_files_are(dual_encoder):
    records = [
        dual_encoder.decode_record({"audio": tf.constant(one), "id": "x"})
        for one in (LOW, HIGH)
    ]
    stacked = tf.nest.map_structure(lambda *values: tf.stack(values), *records)
    inputs = dual_encoder.preprocess_modality("audio", stacked["audio"])
    np.testing.assert_array_equal(inputs["audio_mask"].numpy().sum(axis=1), [19, 19])
    vectors = dual_encoder.encode("audio", [LOW, HIGH])
    again = dual_encoder.encode("audio", stacked["audio"])
    np.testing.assert_allclose(vectors, again, atol=1e-5)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3


def test_served_from_bytes_with_bad_rows(dual_encoder):
    served = dual_encoder.serving_functions()
    assert {"rank", "zero_shot_by_embedding"} <= set(served)
    answer = tf.function(served["encode_audio"].function)
    answers = answer(audio=tf.constant([LOW, FLAC, b"", HIGH]))
    expected = dual_encoder.encode("audio", [LOW, HIGH])
    vectors = answers["embedding"].numpy()
    np.testing.assert_allclose(vectors[[0, 3]], expected, atol=1e-5)
    assert not vectors[[1, 2]].any()
    errors = answers["error"].numpy()
    assert errors[0] == errors[3] == b"" and errors[2] == b"audio is empty."
    assert errors[1].startswith(b"audio is FLAC, not WAV")


def test_a_classifier_does_without_a_missing_sound(classifier):
    inputs = classifier.preprocess(
        {"audio": tf.constant([LOW, b""]), "text": tf.constant(["a", ""])}
    )
    assert inputs["audio_present"].numpy().tolist() == [True, False]
    assert np.all(np.isfinite(classifier(inputs)))
    record = classifier.decode_record({"audio": tf.constant(b""), "text": "a"})
    assert not record["audio_present"] and record["audio"]["audio"].shape == (40, 16)


def test_a_plan_trains_the_upper_block_alone():
    plan = Plan(
        [
            Rule("audio_encoder/*block_0_*", train=False),
            Rule("audio_encoder/*", layer_decay=0.5),
            Rule("text_encoder/*", train=False),
            Rule("*"),
        ]
    )
    model = make_dual_encoder()
    model.compile(kmmft.training.SGD(0.1))
    plan.apply(model)
    before = {v.path: v.numpy() for v in model.weights}
    inputs = model.preprocess(
        {"audio": tf.constant([LOW, HIGH]), "text": tf.constant(["a", "b"])}
    )
    model.fit(tf.data.Dataset.from_tensors(inputs), verbose=0)
    changed = {v.path for v in model.weights if np.any(before[v.path] != v.numpy())}
    assert any("block_1_conv" in path for path in changed)
    assert not any("block_0" in path or "text_encoder" in path for path in changed)
