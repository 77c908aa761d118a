"""A video tower beside a text tower: the same model as with images."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from tests.models.contrastive_cases import image_encoder, text_encoder

FRAMES = 3


def dual_encoder():
    keras.utils.set_random_seed(5)
    video_encoder = kmmft.encoders.VideoEncoder(
        image_encoder(), FRAMES, "sequence_transformer", num_layers=1, num_heads=2
    )
    return kmmft.models.DualEncoder(
        {"video": video_encoder, "text": text_encoder()}, projection_dim=5
    )


def batch(size=4):
    rng = np.random.default_rng(0)
    mask = np.ones((size, FRAMES), bool)
    mask[1, 1:] = False
    return {
        "video": rng.uniform(0, 255, (size, FRAMES, 8, 8, 3)).astype("float32"),
        "video_mask": mask,
        "token_ids": rng.integers(0, 20, (size, 4)).astype("int32"),
        "padding_mask": np.ones((size, 4), bool),
    }


def trained(strategy):
    with strategy.scope():
        model = dual_encoder()
        model.compile(keras.optimizers.SGD(0.05))
    dataset = tf.data.Dataset.from_tensors(batch()).repeat(2)
    history = model.fit(dataset, steps_per_epoch=1, epochs=2, verbose=0)
    weights = [variable.numpy() for variable in model.trainable_variables]
    return history.history["loss"], weights


def test_two_replicas_equal_one_device(two_replicas):
    losses, weights = trained(tf.distribute.get_strategy())
    other_losses, other_weights = trained(two_replicas)
    np.testing.assert_allclose(losses, other_losses, atol=1e-5)
    for weight, other in zip(weights, other_weights, strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-5)


@pytest.fixture(scope="module")
def model():
    return dual_encoder()


def png(level):
    return tf.io.encode_png(np.full((8, 8, 3), level, np.uint8)).numpy()


LONG, SHORT = [png(20 * i) for i in range(9)], [png(7)]


def test_inputs_are_named_by_the_modality(model):
    assert set(model.input) == set(batch())
    assert model.input_names_of("video") == ["video", "video_mask"]
    spec = model.serving_inputs()["video"]
    assert spec.shape.as_list() == [None, None] and spec.dtype == tf.string


def test_videos_of_any_length_are_encoded_alike(model):
    together = model.encode("video", [LONG, SHORT])
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for row, video in enumerate([LONG, SHORT]):
        alone = model.encode("video", [video])
        np.testing.assert_allclose(alone[0], together[row], atol=1e-5)
    # Decoded beforehand, with and without a mask.
    encoder = model.encoders["video"]
    prepared = encoder.preprocess(tf.ragged.constant([LONG, SHORT]).to_tensor(""))
    np.testing.assert_allclose(model.encode("video", prepared), together, atol=1e-5)
    decoded = prepared["video"].numpy()[:1]
    np.testing.assert_allclose(model.encode("video", decoded), together[:1], atol=1e-5)


def test_records_are_decoded_and_batched_with_their_mask(model):
    records = [
        model.decode_record({"video": tf.constant(video), "id": name})
        for video, name in ((LONG, "long"), (SHORT, "short"))
    ]
    assert records[0]["video"]["video"].shape == (FRAMES, 8, 8, 3)
    stacked = tf.nest.map_structure(lambda *values: tf.stack(values), *records)
    inputs = model.preprocess_modality("video", stacked["video"])
    assert set(inputs) == {"video", "video_mask"}
    expected = [[True] * FRAMES, [True] + [False] * (FRAMES - 1)]
    np.testing.assert_array_equal(inputs["video_mask"], expected)


def test_a_classifier_does_without_a_missing_video():
    classifier = kmmft.models.FusionClassifier(
        {"video": kmmft.encoders.VideoEncoder(image_encoder(), FRAMES)},
        fusion=kmmft.layers.GatedFusion(4),
        class_names=["no", "yes"],
        missing_modalities=True,
    )
    inputs = classifier.preprocess({"video": tf.constant([SHORT, [b""]])})
    assert inputs["video_present"].numpy().tolist() == [True, False]
    record = classifier.decode_record({"video": tf.constant([], tf.string)})
    assert not record["video_present"]
    assert record["video"]["video"].shape == (FRAMES, 8, 8, 3)
    assert np.all(np.isfinite(classifier(inputs)))
