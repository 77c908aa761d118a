"""Every image family keeps the encoder's contract."""

import pathlib

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from kmmft.encoders import ImageEncoder
from tests.encoders.image_backbones import BACKBONES


def images(size=32, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (2, size, size, 3))


def vit(size=32):
    return keras_hub.models.ViTBackbone((size, size, 3), 16, 1, 2, 8, 16)


@pytest.fixture(scope="module")
def vit_encoder():
    return ImageEncoder(vit())


@pytest.mark.parametrize("family", BACKBONES)
def test_contract_and_gradient(family):
    make, num_tokens, dim = BACKBONES[family]
    encoder = ImageEncoder(make(), image_size=32)
    x = tf.constant(images(), tf.float32)
    with tf.GradientTape() as tape:
        outputs = encoder(x, training=False)
        loss = tf.reduce_sum(outputs["pooled"] ** 2)
    first = encoder.trainable_variables[0]
    assert np.abs(tape.gradient(loss, first)).max() > 0
    assert outputs["tokens"].shape == (2, num_tokens, dim)
    assert encoder.output["tokens"].shape == (None, num_tokens, dim)
    assert outputs["pooled"].shape == (2, dim) == (2, encoder.output_dim)
    assert outputs["mask"].dtype == tf.bool
    assert np.all(outputs["mask"]) and outputs["mask"].shape == (2, num_tokens)
    assert np.all(np.isfinite(outputs["tokens"]))
    if encoder.pooling == "mean":
        np.testing.assert_allclose(
            outputs["pooled"], np.mean(outputs["tokens"], axis=1), atol=1e-5
        )


def test_class_token_is_pooled_and_left_out_of_tokens(vit_encoder):
    sequence = vit_encoder.backbone((images() - 127.5) / 127.5)
    outputs = vit_encoder(images())
    np.testing.assert_allclose(outputs["pooled"], sequence[:, 0], atol=1e-5)
    np.testing.assert_allclose(outputs["tokens"], sequence[:, 1:], atol=1e-5)


@pytest.mark.parametrize("family, prefix", [("deit", 2), ("dinov2", 3), ("dinov3", 5)])
def test_register_and_distillation_tokens_are_left_out(family, prefix):
    encoder = ImageEncoder(BACKBONES[family][0]())
    mean, std = np.array(encoder.mean), np.array(encoder.std)
    x = ((images() - mean) / std).astype("float32")
    backbone = encoder.backbone
    inputs = {k: x for k in backbone.input} if isinstance(backbone.input, dict) else x
    sequence = backbone(inputs)
    outputs = encoder(images())
    assert sequence.shape[1] == prefix + 4
    np.testing.assert_allclose(outputs["tokens"], sequence[:, prefix:], atol=1e-4)
    np.testing.assert_allclose(outputs["pooled"], sequence[:, 0], atol=1e-4)


def test_siglip_pools_with_its_own_head():
    encoder = ImageEncoder(BACKBONES["siglip"][0]())
    x = ((images() - 127.5) / 127.5).astype("float32")
    outputs = encoder(images())
    np.testing.assert_allclose(
        outputs["pooled"], encoder.backbone({"images": x}), atol=1e-5
    )
    mean = ImageEncoder(encoder.backbone, pooling="mean")(images())
    np.testing.assert_allclose(
        mean["pooled"], np.mean(outputs["tokens"], axis=1), atol=1e-5
    )


def test_hgnet_gives_its_deepest_stage():
    encoder = ImageEncoder(BACKBONES["hgnetv2"][0](), 32)
    x = ((images() - np.array(encoder.mean)) / np.array(encoder.std)).astype("float32")
    deepest = encoder.backbone(x)["stage2"]
    np.testing.assert_allclose(
        encoder(images())["tokens"], np.reshape(deepest, (2, -1, 16)), atol=1e-4
    )


def test_convolutional_backbones_take_any_size():
    backbone = BACKBONES["vgg"][0]()
    assert ImageEncoder(backbone).image_size == (224, 224)
    encoder = ImageEncoder(backbone, (16, 24))
    assert encoder.output["tokens"].shape == (None, 4 * 6, 12)


def test_a_fixed_backbone_refuses_another_size():
    with pytest.raises(ValueError, match=r"\(32, 32\).*Received: \(48, 48\)"):
        ImageEncoder(vit(), 48)


@pytest.mark.parametrize("pooling", ["mean", "max", "cls"])
def test_pooling_may_be_chosen(vit_encoder, pooling):
    encoder = ImageEncoder(vit_encoder.backbone, pooling=pooling)
    outputs = encoder(images())
    expected = {
        "mean": np.mean(outputs["tokens"], axis=1),
        "max": np.max(outputs["tokens"], axis=1),
        "cls": vit_encoder(images())["pooled"],
    }[pooling]
    np.testing.assert_allclose(outputs["pooled"], expected, atol=1e-6)


def test_impossible_poolings_are_named(vit_encoder):
    with pytest.raises(ValueError, match="pooler"):
        ImageEncoder(vit_encoder.backbone, pooling="pooler")
    with pytest.raises(ValueError, match="class token"):
        ImageEncoder(BACKBONES["vgg"][0](), 32, pooling="cls")
    with pytest.raises(ValueError, match="`pooling` must be one of"):
        ImageEncoder(vit_encoder.backbone, pooling="median")


def test_a_backbone_of_another_kind_is_refused():
    gpt2 = keras_hub.models.GPT2Backbone(10, 1, 1, 4, 4)
    with pytest.raises(ValueError, match=r"must be an image encoder.*GPT2Backbone"):
        ImageEncoder(gpt2)


def test_any_functional_model_is_a_backbone():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Conv2D(5, 4, strides=4)(image))
    encoder = ImageEncoder(model, 16, mean=0.0, std=255.0)
    outputs = encoder(images(16))
    np.testing.assert_allclose(
        outputs["tokens"], np.reshape(model(images(16) / 255.0), (2, 16, 5)), atol=1e-5
    )


@pytest.fixture(scope="module")
def clip():
    vision = BACKBONES["clip"][0]()
    text = keras_hub.models.CLIPTextEncoder(20, 8, 8, 1, 2, 16, max_sequence_length=6)
    return keras_hub.models.CLIPBackbone(vision, text, projection_dim=5)


def test_clip_gives_its_published_embedding(clip):
    encoder = ImageEncoder.from_backbone(clip)
    x = ((images() - np.array(encoder.mean)) / np.array(encoder.std)).astype("float32")
    np.testing.assert_allclose(
        encoder(images())["pooled"], clip.get_vision_embeddings(x), atol=1e-5
    )
    assert encoder.output_dim == 5
    assert ImageEncoder.from_backbone(clip, projection=None).output_dim == 8


@pytest.mark.parametrize("family", ["vit", "siglip", "clip", "hgnetv2"])
def test_survives_a_file(family, clip, tmp_path):
    if family == "clip":
        encoder = ImageEncoder.from_backbone(clip, name="eye")
    else:
        encoder = ImageEncoder(BACKBONES[family][0](), 32, pooling="mean", std=9.0)
    encoder.save(tmp_path / "encoder.keras")
    loaded = keras.saving.load_model(tmp_path / "encoder.keras")
    for key in ("pooled", "tokens", "mask"):
        np.testing.assert_array_equal(loaded(images())[key], encoder(images())[key])
    assert loaded.get_config().keys() == encoder.get_config().keys()
    assert (loaded.name, loaded.pooling) == (encoder.name, encoder.pooling)
    assert loaded.image_size == (32, 32)


def test_a_local_preset_brings_its_normalisation(vit_encoder, tmp_path):
    vit_encoder.backbone.save_to_preset(tmp_path)
    converter = keras_hub.layers.ViTImageConverter(
        image_size=(32, 32), scale=[0.5, 0.25, 0.2], offset=[-1.0, -2.0, 0.0]
    )
    converter.save_to_preset(tmp_path)
    encoder = ImageEncoder.from_preset(str(tmp_path))
    np.testing.assert_allclose(encoder.mean, [2.0, 8.0, 0.0])
    np.testing.assert_allclose(encoder.std, [2.0, 4.0, 5.0])
    given = ImageEncoder.from_preset(str(tmp_path), mean=127.5, std=127.5)
    np.testing.assert_array_equal(
        given(images())["pooled"], vit_encoder(images())["pooled"]
    )


def test_a_hugging_face_directory_equals_transformers():
    directory = pathlib.Path(__file__).parent / "golden" / "vit"
    golden = np.load(directory / "outputs.npz")
    encoder = ImageEncoder.from_preset(str(directory))
    np.testing.assert_allclose(encoder.mean, np.array([0.4, 0.5, 0.6]) * 255)
    np.testing.assert_allclose(encoder.std, np.array([0.2, 0.25, 0.3]) * 255)
    y, x, c = np.meshgrid(range(32), range(32), range(3), indexing="ij")
    pixels = 127.5 + 127.5 * np.sin(0.07 * x + 0.11 * y + 1.3 * c)
    outputs = encoder(pixels[None])
    np.testing.assert_allclose(outputs["pooled"][0], golden["cls"], atol=1e-5)
    np.testing.assert_allclose(outputs["tokens"][0], golden["patches"], atol=1e-5)


def test_preprocess_decodes_one_and_many(vit_encoder):
    pixels = images(40)[0].astype("uint8")
    encoded = tf.io.encode_png(pixels)
    one = vit_encoder.preprocess(encoded)
    many = vit_encoder.preprocess(tf.stack([encoded, encoded]))
    assert one.shape == (32, 32, 3) and many.shape == (2, 32, 32, 3)
    assert one.dtype == tf.float32 and np.max(one) > 200
    dataset = tf.data.Dataset.from_tensors(encoded).map(vit_encoder.preprocess)
    for image in (*many, next(iter(dataset))):
        np.testing.assert_array_equal(image, one)
    assert vit_encoder(many)["pooled"].shape == (2, 8)


@pytest.mark.parametrize("family", ["vit", "clip", "siglip", "dinov2", "vit_det"])
def test_a_transformer_is_rebuilt_for_another_size(family):
    backbone = BACKBONES[family][0]()
    # Constant embeddings stay constant under resizing, whatever the kernel.
    for weight in backbone.weights:
        if "pos" in weight.path and "ids" not in weight.path:
            weight.assign(np.full(weight.shape, 0.25))
    square = (32, 64) if family == "vit" else (64, 64)
    encoder = ImageEncoder.from_backbone(backbone, image_size=square)
    assert encoder.output["tokens"].shape[1] == square[0] * square[1] // 16**2
    for old, new in zip(backbone.weights, encoder.backbone.weights, strict=True):
        if "pos" not in new.path:
            np.testing.assert_array_equal(old, new)
        elif "ids" not in new.path and old.shape != new.shape:
            np.testing.assert_allclose(new, np.full(new.shape, 0.25), atol=1e-6)
    assert np.all(np.isfinite(encoder(np.zeros((1, *square, 3)))["pooled"]))


def test_position_embeddings_are_resized_as_a_grid():
    backbone = vit()
    table = next(w for w in backbone.weights if w.shape == (5, 8))
    values = np.arange(40, dtype="float32").reshape(5, 8)
    table.assign(values)
    larger = ImageEncoder.from_backbone(backbone, image_size=(64, 32)).backbone
    resized = next(w for w in larger.weights if w.shape == (9, 8)).numpy()
    np.testing.assert_array_equal(resized[0], values[0])  # the class token's
    grid = resized[1:].reshape(4, 2, 8)
    # The width is unchanged, so columns keep their difference; rows go up.
    np.testing.assert_allclose(grid[:, 1] - grid[:, 0], np.full((4, 8), 8), atol=1e-4)
    assert np.all(np.diff(grid[:, 0], axis=0) >= -1e-4)
    np.testing.assert_allclose(grid.mean(axis=(0, 1)), values[1:].mean(0), atol=1e-3)


def test_what_is_frozen_is_frozen_in_another_size():
    backbone = vit()
    backbone.trainable = False
    last = backbone.layers[-1]
    last.trainable = True
    resized = ImageEncoder.from_backbone(backbone, image_size=64).backbone
    trained = [layer.trainable for layer in resized._flatten_layers()]
    assert trained == [layer.trainable for layer in backbone._flatten_layers()]
    assert resized.layers[-1].trainable and not resized.layers[1].trainable
    assert len(resized.non_trainable_variables) == len(resized.weights)


def test_a_convolutional_preset_takes_another_size(tmp_path):
    vgg = keras_hub.models.VGGBackbone([1, 1], [8, 12], image_shape=(32, 32, 3))
    vgg.save_to_preset(tmp_path)
    encoder = ImageEncoder.from_preset(str(tmp_path), image_size=(16, 24))
    assert encoder.image_size == (16, 24)
    np.testing.assert_array_equal(encoder.backbone.weights[0], vgg.weights[0])


def test_frozen_encoder_trains_nothing(vit_encoder):
    encoder = ImageEncoder(vit())
    encoder.trainable = False
    assert encoder.trainable_variables == []


def test_half_precision_keeps_the_pixels():
    keras.config.set_dtype_policy("mixed_bfloat16")
    encoder = ImageEncoder(vit())
    assert encoder.get_layer("normalisation").compute_dtype == "float32"
    outputs = encoder(images())
    assert outputs["pooled"].dtype == tf.bfloat16
    rescaled = encoder.get_layer("normalisation").output
    exact = keras.Model(encoder.input, rescaled)(images())
    np.testing.assert_allclose(exact, (images() - 127.5) / 127.5, atol=1e-6)
