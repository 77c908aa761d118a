"""CLIPs and SigLIPs give here what they give in the libraries that wrote them."""

import json

import keras
import keras_hub
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from kmmft.encoders import (
    ClipTokenizer,
    ImageEncoder,
    TextEncoder,
    load_dual_checkpoint,
    load_dual_preset,
    read_torch_checkpoint,
)
from tests.encoders.dual_checkpoints import GOLDEN, copied, edit, image, texts, unit
from tests.encoders.image_backbones import transformer
from tests.encoders.text_backbones import SIZES, proto

NAMES = ("clip", "siglip", "open_clip", "open_clip_siglip")


@pytest.fixture(scope="module", params=NAMES)
def named(request):
    return request.param, load_dual_checkpoint(GOLDEN / request.param)


# === Equality ===
def test_outputs_equal_the_other_library(named):
    name, dual = named
    golden = np.load(GOLDEN / name / "outputs.npz")
    images = unit(dual.image_encoder(image(32))["pooled"])
    captions = unit(dual.text_encoder(texts(name))["pooled"])
    bias = dual.logit_bias or 0.0
    logits = dual.logit_scale * images @ captions.T + bias
    np.testing.assert_allclose(images, golden["image_32"], atol=2e-6)
    np.testing.assert_allclose(captions, golden["text"], atol=2e-6)
    np.testing.assert_allclose(logits, golden["logits_32"], atol=2e-5)
    assert (dual.logit_bias is None) == ("siglip" not in name)


@pytest.mark.parametrize("name", ["clip", "open_clip"])
@pytest.mark.parametrize("size", [24, 48])
def test_another_image_size_equals_the_other_library(name, size):
    encoder = ImageEncoder.from_checkpoint(GOLDEN / name, image_size=size)
    golden = np.load(GOLDEN / name / "outputs.npz")[f"image_{size}"]
    np.testing.assert_allclose(unit(encoder(image(size))["pooled"]), golden, atol=2e-6)


def test_preprocessing_is_the_checkpoints():
    clip = ImageEncoder.from_checkpoint(GOLDEN / "clip")
    assert clip.resize_mode == "crop" and clip.interpolation == "bicubic"
    np.testing.assert_allclose(clip.mean, [122.7709383, 116.7460125, 104.09373615])
    siglip = ImageEncoder.from_checkpoint(GOLDEN / "open_clip_siglip")
    assert siglip.resize_mode == "stretch"
    np.testing.assert_allclose([siglip.mean, siglip.std], np.full((2, 3), 127.5))


def test_single_towers_and_shorter_texts():
    encoder = TextEncoder.from_checkpoint(GOLDEN / "clip", sequence_length=12)
    golden = np.load(GOLDEN / "clip" / "outputs.npz")["text"]
    short = {key: value[:, :12] for key, value in texts("clip").items()}
    fits = short["padding_mask"].sum(1) < 12
    assert 0 < fits.sum() < len(fits)
    captions = unit(encoder(short)["pooled"])
    np.testing.assert_allclose(captions[fits], golden[fits], atol=2e-6)
    assert encoder.preprocess(["a b"])["token_ids"].shape == (1, 12)


def test_saved_as_keras_with_its_tokenizer(tmp_path):
    dual = load_dual_checkpoint(GOLDEN / "clip", image_size=48)
    strings = ["A photo of a\u00a0cat's house", "naïve ΣΑΣ"]
    for encoder, inputs in (
        (dual.image_encoder, image(48)),
        (dual.text_encoder, dual.text_encoder.preprocess(strings)),
    ):
        encoder.save(tmp_path / "encoder.keras")
        loaded = keras.models.load_model(tmp_path / "encoder.keras")
        expected = encoder(inputs)["pooled"]
        np.testing.assert_allclose(loaded(inputs)["pooled"], expected, atol=1e-6)
    ids = dual.text_encoder.preprocess(strings)["token_ids"]
    np.testing.assert_array_equal(loaded.preprocess(strings)["token_ids"], ids)


@pytest.mark.parametrize("family", ["CLIPVisionEncoder", "MetaCLIP2VisionEncoder"])
def test_a_new_clip_knows_where_its_patches_are(family):
    encoder = ImageEncoder(transformer(getattr(keras_hub.models, family)))
    pixels = image(32)
    other = np.concatenate([pixels[:, 16:], pixels[:, :16]], axis=1)
    difference = encoder(pixels)["pooled"] - encoder(other)["pooled"]
    # The class token attends alike to the same patches in other places otherwise.
    assert np.abs(difference).max() > 1e-3


def test_from_preset_takes_checkpoints_too():
    encoder = ImageEncoder.from_preset(str(GOLDEN / "open_clip"), image_size=48)
    golden = np.load(GOLDEN / "open_clip" / "outputs.npz")["image_48"]
    np.testing.assert_allclose(unit(encoder(image(48))["pooled"]), golden, atol=2e-6)
    encoder = TextEncoder.from_preset(str(GOLDEN / "siglip"))
    golden = np.load(GOLDEN / "siglip" / "outputs.npz")["text"]
    captions = unit(encoder(texts("siglip"))["pooled"])
    np.testing.assert_allclose(captions, golden, atol=2e-6)


def test_the_gradient_reaches_every_weight():
    dual = load_dual_checkpoint(GOLDEN / "siglip")
    encoder = dual.image_encoder
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(encoder(image(32))["pooled"] ** 3)
    weights = [weight.value for weight in encoder.trainable_variables]
    for gradient in tape.gradient(loss, weights):
        assert np.all(np.isfinite(tf.convert_to_tensor(gradient)))


# === Files ===
def test_shards_and_half_precision(tmp_path):
    directory = copied("clip", tmp_path)
    tensors = safetensors.numpy.load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"1.safetensors": names[::2], "2.safetensors": names[1::2]}
    for file, part in parts.items():
        half = {name: tensors[name].astype("bfloat16") for name in part}
        safetensors.numpy.save_file(half, directory / file)
    index = {name: file for file, part in parts.items() for name in part}
    path = directory / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": index}))
    encoder = TextEncoder.from_checkpoint(directory)
    table = encoder.backbone.embedding.token_embedding.embeddings
    key = "text_model.embeddings.token_embedding.weight"
    expected = tensors[key].astype("bfloat16").astype("float32")
    np.testing.assert_array_equal(table, expected)
    (directory / "2.safetensors").unlink()
    with pytest.raises(ValueError, match=r"every file that.*2\.safetensors"):
        load_dual_checkpoint(directory)


def test_a_bare_file_and_settings_left_out(tmp_path):
    directory = copied("siglip", tmp_path)
    (directory / "model.safetensors").rename(directory / "other.safetensors")
    for name in ("spiece.model", "preprocessor_config.json"):
        (directory / name).unlink()

    def leave_out(config):
        del config["vision_config"]["hidden_act"], config["architectures"]
        # Old files keep settings under two names, of which this one counts.
        config["text_config_dict"] = config.pop("text_config")
        config["text_config"] = {"hidden_size": 999}

    edit(directory / "config.json", leave_out)
    dual = load_dual_checkpoint(directory / "other.safetensors")
    golden = np.load(GOLDEN / "siglip" / "outputs.npz")["image_32"]
    images = unit(dual.image_encoder(image(32))["pooled"])
    np.testing.assert_allclose(images, golden, atol=2e-6)
    assert dual.text_encoder.tokenizer is None
    assert dual.image_encoder.resize_mode == "stretch"


def test_pytorch_file_equals_what_open_clip_held():
    path = GOLDEN / "open_clip" / "open_clip_pytorch_model.bin"
    tensors = read_torch_checkpoint(path)
    assert tensors["visual.conv1.weight"].shape == (16, 3, 8, 8)
    np.testing.assert_allclose(tensors["logit_scale"], np.log(1 / 0.07), rtol=1e-6)


# === Presets ===
def pixels():
    return np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")


def test_clip_preset_of_keras_hub(tmp_path):
    image_encoder = transformer(keras_hub.models.CLIPVisionEncoder)
    ImageEncoder(image_encoder)  # numbers the positions, which KerasHub forgets
    text_encoder = keras_hub.models.CLIPTextEncoder(
        60, 8, max_sequence_length=8, **SIZES
    )
    clip = keras_hub.models.CLIPBackbone(image_encoder, text_encoder, 6)
    clip.clip_head.logit_scale.assign(0.5)
    clip.save_to_preset(tmp_path)
    # As in the real vocabulary, the end has the largest id: KerasHub looks for it.
    pieces = [*"act", "ca", "cat</w>", "a</w>", "t</w>", "c</w>"]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    keras_hub.models.CLIPTokenizer(
        {piece: index for index, piece in enumerate(pieces)}, ["c a", "ca t</w>"]
    ).save_to_preset(tmp_path)
    dual = load_dual_preset(str(tmp_path))
    assert isinstance(dual.text_encoder.tokenizer, ClipTokenizer)
    assert dual.logit_bias is None
    inputs = dual.text_encoder.preprocess(["a Cat", "cat cat"])
    ids = [[8, 5, 4, 9, 0, 0, 0, 0], [8, 4, 4, 9, 0, 0, 0, 0]]
    np.testing.assert_array_equal(inputs["token_ids"], ids)
    mean, std = np.array(dual.image_encoder.mean), np.array(dual.image_encoder.std)
    normalised = tf.constant((pixels() - mean) / std, tf.float32)
    expected = clip({"images": normalised, "token_ids": inputs["token_ids"]})
    images = unit(dual.image_encoder(pixels())["pooled"])
    captions = unit(dual.text_encoder(inputs)["pooled"])
    logits = dual.logit_scale * images @ captions.T
    # Not closer, because of the other epsilon of the last layer norm.
    np.testing.assert_allclose(logits, expected["vision_logits"], atol=5e-3)


def test_siglip_preset_of_keras_hub(tmp_path):
    siglip = keras_hub.models.SigLIPBackbone(
        transformer(keras_hub.models.SigLIPVisionEncoder),
        keras_hub.models.SigLIPTextEncoder(60, 8, max_sequence_length=8, **SIZES),
    )
    siglip.siglip_head.logit_scale.assign(0.5)
    siglip.siglip_head.logit_bias.assign(-2.0)
    siglip.save_to_preset(tmp_path)
    model = proto(unk_id=0, bos_id=-1, eos_id=1)
    keras_hub.models.SigLIPTokenizer(model).save_to_preset(tmp_path)
    dual = load_dual_preset(str(tmp_path))
    inputs = dual.text_encoder.preprocess(["a cat", "the Mat!"])
    normalised = tf.constant((pixels() - 127.5) / 127.5)
    whole = siglip({"images": normalised, "token_ids": inputs["token_ids"]})
    images = unit(dual.image_encoder(pixels())["pooled"])
    captions = unit(dual.text_encoder(inputs)["pooled"])
    logits = dual.logit_scale * images @ captions.T + dual.logit_bias
    np.testing.assert_allclose(logits, whole["vision_logits"], atol=1e-5)


def test_a_preset_of_another_kind(tmp_path):
    keras_hub.models.ViTBackbone((32, 32, 3), 16, 1, 2, 8, 16).save_to_preset(tmp_path)
    with pytest.raises(ValueError, match=r"must lead to a CLIP.*ViTBackbone"):
        load_dual_preset(str(tmp_path))
