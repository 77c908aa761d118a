"""What is written is what `transformers` wrote itself."""

import json
import pathlib

import keras
import numpy as np
import pytest
import safetensors.numpy
import tokenizers

from kmmft.encoders import (
    ImageEncoder,
    SiglipTokenizer,
    TextEncoder,
    load_dual_checkpoint,
    save_dual_checkpoint,
)
from tests.encoders.golden.token_strings import strings
from tests.encoders.image_backbones import BACKBONES

GOLDEN = pathlib.Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def clip():
    return load_dual_checkpoint(GOLDEN / "clip")


@pytest.fixture(scope="module")
def siglip():
    return load_dual_checkpoint(GOLDEN / "siglip")


def save(directory, dual, **changes):
    parts = {
        "image_encoder": dual.image_encoder,
        "text_encoder": dual.text_encoder,
        "logit_scale": dual.logit_scale,
        "logit_bias": dual.logit_bias,
    }
    save_dual_checkpoint(directory, **{**parts, **changes})


def subset(ours, theirs):
    """Each setting that both name must be the same."""
    for key in ours.keys() & theirs.keys():
        if isinstance(ours[key], dict):
            subset(ours[key], theirs[key])
        elif key in ("image_mean", "image_std"):
            np.testing.assert_allclose(ours[key], theirs[key])
        else:
            assert ours[key] == theirs[key], key


def _drop_unused(config):
    """Defaults that the golden files hold, and that these models do not look at."""
    for part in (config["text_config"], config["vision_config"]):
        part.pop("projection_dim", None)
    if config["model_type"] == "siglip":
        for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
            del config["text_config"][key]


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_files_equal_those_of_transformers(tmp_path, name, request):
    dual = request.getfixturevalue(name)
    save(tmp_path / "out", dual)
    golden = safetensors.numpy.load_file(GOLDEN / name / "model.safetensors")
    written = safetensors.numpy.load_file(tmp_path / "out" / "model.safetensors")
    assert written.keys() == golden.keys()
    for key, tensor in golden.items():
        np.testing.assert_array_equal(written[key], tensor, err_msg=key)
        assert written[key].shape == tensor.shape
    for file in ("config.json", "preprocessor_config.json", "tokenizer_config.json"):
        ours = json.loads((tmp_path / "out" / file).read_text())
        theirs = json.loads((GOLDEN / name / file).read_text())
        if file == "config.json":
            _drop_unused(theirs)
        subset(ours, theirs)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["clip", "siglip", "open_clip"])
def test_round_trip_is_exact(tmp_path, name):
    size = 48 if name == "open_clip" else None
    dual = load_dual_checkpoint(GOLDEN / name, image_size=size)
    save(tmp_path / "out", dual)
    again = load_dual_checkpoint(tmp_path / "out")
    for encoder in ("image_encoder", "text_encoder"):
        first, second = getattr(dual, encoder), getattr(again, encoder)
        for a, b in zip(first.weights, second.weights, strict=True):
            np.testing.assert_array_equal(a, b)
        assert first.get_config()["pooling"] == second.get_config()["pooling"]
    assert (again.logit_scale, again.logit_bias) == (dual.logit_scale, dual.logit_bias)
    np.testing.assert_allclose(again.image_encoder.mean, dual.image_encoder.mean)
    assert again.image_encoder.resize_mode == dual.image_encoder.resize_mode
    assert again.image_encoder.interpolation == dual.image_encoder.interpolation
    if dual.text_encoder.tokenizer is not None:
        a = dual.text_encoder.preprocess(strings()[:50])
        b = again.text_encoder.preprocess(strings()[:50])
        np.testing.assert_array_equal(a["token_ids"], b["token_ids"])


def test_the_tokenizer_of_siglip_2(tmp_path):
    dual = load_dual_checkpoint(GOLDEN / "open_clip_siglip")
    proto = (GOLDEN / "siglip2/tokenizer.model").read_bytes()
    encoder = TextEncoder(
        dual.text_encoder.backbone,
        SiglipTokenizer(proto, "<eos>", "<pad>", "lower"),
        sequence_length=16,
    )
    save(tmp_path / "out", dual, text_encoder=encoder)
    fast = tokenizers.Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    golden = np.load(GOLDEN / "token_ids.npz")["siglip2"]
    for text, ids in zip(strings(), golden, strict=True):
        mine = fast.encode(text).ids
        if len(mine) <= 16:
            np.testing.assert_array_equal(mine, ids[: len(mine)])
    theirs = json.loads((GOLDEN / "siglip2/tokenizer.json").read_text())["model"]
    mine = json.loads((tmp_path / "out" / "tokenizer.json").read_text())["model"]
    assert (mine["vocab"], mine["merges"]) == (theirs["vocab"], theirs["merges"])


# === Bad inputs ===
def test_an_existing_directory_is_kept(tmp_path, clip):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="must not exist, or be empty"):
        save(tmp_path, clip)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_transformers_cannot_hold(tmp_path, clip, siglip):
    def refused(match, dual=clip, **changes):
        with pytest.raises(ValueError, match=match):
            save(tmp_path / "out", dual, **changes)

    refused("`format` must be", format="open_clip")
    refused("towers of a CLIP, or of a SigLIP", text_encoder=siglip.text_encoder)
    resnet = ImageEncoder(BACKBONES["resnet"][0](), image_size=32)
    refused("Received: ResNetBackbone", image_encoder=resnet)
    refused("no `logit_bias`", logit_bias=-1.0)
    refused("positive `logit_scale`", logit_scale=0.0)
    refused("a `logit_bias`", dual=siglip, logit_bias=None)
    backbone = clip.image_encoder.backbone
    mean = ImageEncoder(
        backbone, pooling="mean", projection=clip.image_encoder.projection
    )
    refused("must pool by.*'mean'", image_encoder=mean)
    refused("Dense layers without bias", image_encoder=ImageEncoder(backbone))
    dense = keras.layers.Dense(5, use_bias=False)
    narrow = ImageEncoder(backbone, projection=dense)
    refused("same output width.*5 and 12", image_encoder=narrow)
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_of_a_failed_run(tmp_path, siglip):
    proto = (GOLDEN / "siglip/spiece.model").read_bytes()
    encoder = TextEncoder(
        siglip.text_encoder.backbone,
        SiglipTokenizer(proto, clean="open_clip"),
        sequence_length=16,
    )
    with pytest.raises(ValueError, match="cleans as `transformers` does"):
        save(tmp_path / "out", siglip, text_encoder=encoder)
    assert list(tmp_path.iterdir()) == []


def test_lora_is_refused(tmp_path):
    dual = load_dual_checkpoint(GOLDEN / "clip")
    dual.image_encoder.backbone.encoder_layers[0].dense_1.enable_lora(2)
    with pytest.raises(ValueError, match="layers with LoRA"):
        save(tmp_path / "out", dual)
