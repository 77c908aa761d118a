import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from kmmft.encoders import ImageEncoder, VideoEncoder
from tests.layers.references import randomize

MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool)


def vit():
    return keras_hub.models.ViTBackbone((32, 32, 3), 16, 1, 2, 8, 16)


def videos(seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (2, 4, 32, 32, 3))


@pytest.fixture(scope="module")
def image_encoder():
    return ImageEncoder(vit())


@pytest.fixture(scope="module")
def encoders(image_encoder):
    mean = VideoEncoder(image_encoder, 4)
    sequence = VideoEncoder(
        image_encoder, 4, "sequence_transformer", num_layers=1, num_heads=2
    )
    randomize(sequence.get_layer("frame_transformer"))
    return {"mean": mean, "sequence_transformer": sequence}


def test_mean_is_that_of_the_frames_vectors(image_encoder, encoders):
    video = videos()
    outputs = encoders["mean"]({"video": video, "video_mask": MASK})
    for row in range(2):
        vectors = np.asarray(image_encoder(video[row])["pooled"])
        vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
        np.testing.assert_allclose(outputs["tokens"][row], vectors, atol=1e-5)
        expected = vectors[MASK[row]].mean(axis=0)
        np.testing.assert_allclose(outputs["pooled"][row], expected, atol=1e-5)
    np.testing.assert_array_equal(outputs["mask"], MASK)


def test_sequence_is_the_mean_over_the_transformers_frames(image_encoder, encoders):
    video, encoder = videos(), encoders["sequence_transformer"]
    outputs = encoder({"video": video, "video_mask": MASK})
    frames = np.stack([image_encoder(one)["pooled"] for one in video])
    layer = encoder.get_layer("frame_transformer")
    frames = np.asarray(layer(frames, mask=MASK))
    frames = frames / np.linalg.norm(frames, axis=-1, keepdims=True)
    for row in range(2):
        expected = frames[row][MASK[row]].mean(axis=0)
        np.testing.assert_allclose(outputs["pooled"][row], expected, atol=1e-5)


def test_only_the_sequence_knows_the_order(encoders):
    forward, backward = videos(), videos()[:, ::-1]
    for aggregation, encoder in encoders.items():
        difference = np.abs(encoder(forward)["pooled"] - encoder(backward)["pooled"])
        assert (difference.max() > 1e-3) == (aggregation != "mean")


@pytest.mark.parametrize("aggregation", ["mean", "sequence_transformer"])
def test_masked_frames_do_not_count(encoders, aggregation):
    encoder, other = encoders[aggregation], videos()
    other[~MASK] = 7.0
    pooled = [
        encoder({"video": video, "video_mask": MASK})["pooled"]
        for video in (videos(), other)
    ]
    np.testing.assert_allclose(*pooled, atol=1e-6)


def test_contract(encoders):
    for encoder in encoders.values():
        outputs = encoder(videos())
        assert outputs["pooled"].shape == (2, 8) == (2, encoder.output_dim)
        assert outputs["tokens"].shape == (2, 4, 8)
        assert outputs["mask"].dtype == bool and np.all(outputs["mask"])
        assert encoder.output["pooled"].shape == (None, 8)
        assert list(encoder.input) == ["video", "video_mask"]


@pytest.mark.parametrize("aggregation", ["mean", "sequence_transformer"])
def test_survives_a_file(encoders, aggregation, tmp_path):
    encoder = encoders[aggregation]
    encoder.save(tmp_path / "encoder.keras")
    loaded = keras.saving.load_model(tmp_path / "encoder.keras")
    before, after = encoder.get_config(), loaded.get_config()
    # The image encoder's own: tuples come back as lists.
    assert before.pop("image_encoder").keys() == after.pop("image_encoder").keys()
    assert before == after
    inputs = {"video": videos(), "video_mask": MASK}
    np.testing.assert_array_equal(loaded(inputs)["pooled"], encoder(inputs)["pooled"])


def with_dropout():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Dropout(0.5)(keras.layers.Flatten()(image))
    return ImageEncoder(keras.Model(image, keras.layers.Dense(8)(x)), 8)


@pytest.mark.parametrize("frozen", ["image_encoder", "all", "none"])
def test_frozen_parts_run_in_inference_mode(frozen):
    image_encoder = with_dropout()
    # In the mean there is only the image encoder's dropout.
    encoder = VideoEncoder(image_encoder, 4)
    if frozen == "image_encoder":
        image_encoder.trainable = False
    if frozen == "all":
        encoder.trainable = False
    video = np.random.default_rng(0).uniform(0, 255, (2, 4, 8, 8, 3))
    trained, used = (encoder(video, training=mode)["pooled"] for mode in (True, False))
    assert (np.abs(trained - used).max() > 1e-4) == (frozen == "none")
    assert bool(encoder.trainable_variables) == (frozen == "none")


def test_a_frozen_encoders_transformer_drops_nothing():
    encoder = VideoEncoder(
        with_dropout(), 4, "sequence_transformer", 1, 2, dropout_rate=0.5
    )
    video = np.random.default_rng(0).uniform(0, 255, (2, 4, 8, 8, 3))
    encoder.trainable = False
    np.testing.assert_array_equal(
        encoder(video, training=True)["pooled"], encoder(video)["pooled"]
    )


def png(level):
    return tf.io.encode_png(np.full((40, 50, 3), level, np.uint8)).numpy()


def test_preprocess_decodes_one_and_many(encoders):
    encoder = encoders["mean"]
    long, short = [png(20 * i) for i in range(10)], [png(7), png(9)]
    one = encoder.preprocess(tf.constant(long))
    assert one["video"].shape == (4, 32, 32, 3) and one["video_mask"].shape == (4,)
    np.testing.assert_allclose(one["video"][:, 0, 0, 0], [20, 60, 120, 160])
    batch = tf.ragged.constant([long, short]).to_tensor("")
    many = tf.function(encoder.preprocess)(batch)
    np.testing.assert_array_equal(many["video"][0], one["video"])
    np.testing.assert_array_equal(many["video_mask"], MASK)
    dataset = tf.data.Dataset.from_tensors(tf.constant(long)).map(encoder.preprocess)
    assert dataset.element_spec["video"].shape == (4, 32, 32, 3)
    np.testing.assert_array_equal(next(iter(dataset))["video"], one["video"])
    decoded = encoder.preprocess(many["video"])
    np.testing.assert_array_equal(decoded["video"], many["video"])
    assert np.all(decoded["video_mask"])


def test_half_precision(image_encoder):
    keras.config.set_dtype_policy("mixed_bfloat16")
    encoder = VideoEncoder(ImageEncoder(vit()), 4, "sequence_transformer", 1, 2)
    outputs = encoder({"video": videos(), "video_mask": MASK})
    assert outputs["pooled"].dtype == "float32"
    assert np.all(np.isfinite(outputs["pooled"]))


@pytest.mark.parametrize(
    "options", [{"aggregation": "median"}, {"num_frames": 0}, {"aggregation": "tight"}]
)
def test_bad_arguments(image_encoder, options):
    with pytest.raises(ValueError, match="Received: aggregation="):
        VideoEncoder(image_encoder, **options)
