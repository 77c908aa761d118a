"""Checkpoints that cannot be read, and open_clip's that can."""

import pytest
import safetensors.numpy

from kmmft.encoders import load_dual_checkpoint
from kmmft.encoders.open_clip_layout import transformers_config, transformers_tensors
from tests.encoders.dual_checkpoints import GOLDEN, copied, edit


def test_nothing_there(tmp_path):
    with pytest.raises(ValueError, match="must be a checkpoint's directory"):
        load_dual_checkpoint(tmp_path / "no")
    with pytest.raises(ValueError, match=r"must be a checkpoint's.*no\.safetensors"):
        load_dual_checkpoint(tmp_path / "no.safetensors")
    with pytest.raises(ValueError, match=r"must hold open_clip_config\.json or config"):
        load_dual_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="JSON files must be valid"):
        load_dual_checkpoint(tmp_path)


def test_no_weights_and_cut_weights(tmp_path):
    directory = copied("clip", tmp_path)
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"whole \.safetensors files.*model"):
        load_dual_checkpoint(directory)
    path.unlink()
    with pytest.raises(ValueError, match="must hold the weights, one of"):
        load_dual_checkpoint(directory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "siglip2"}, "fixed resolution"),
        ({"model_type": "bert"}, "must be a CLIPModel or a SiglipModel.*'bert'"),
        ({"architectures": ["CLIPVisionModel"]}, "CLIPVisionModel"),
        ({"text_config": {"hidden_act": "relu"}}, "hidden_act.*'relu'"),
        ({"vision_config": {"layer_norm_eps": 1e-3}}, r"layer_norm_eps.*0\.001"),
        ({"vision_config": {"num_channels": 1}}, "num_channels=1"),
        ({"text_config": {"num_hidden_layers": 3}}, r"none for text_model.*layers\.2"),
        ({"text_config": {"num_hidden_layers": 1}}, r"layers\.1.*which have none"),
        ({"vision_config": {"hidden_size": 28}}, r"class_embedding must have.*\(28,\)"),
        ({"text_config": {"vocab_size": 1000}}, r"token_embedding.*\(1000, 16\)"),
    ],
)
def test_configuration_and_weights_must_agree(tmp_path, change, message):
    directory = copied("clip", tmp_path)

    def apply(config):
        for key, value in change.items():
            if isinstance(value, dict):
                config[key].update(value)
            else:
                config[key] = value

    edit(directory / "config.json", apply)
    with pytest.raises(ValueError, match=message):
        load_dual_checkpoint(directory)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("vision_cfg", {"layers": [3, 4, 6, 3]}, "a ResNet"),
        ("vision_cfg", {"timm_model_name": "convnext_base"}, "convnext_base"),
        ("vision_cfg", {"attentional_pool": True}, "attentional_pool"),
        ("text_cfg", {"hf_model_name": "roberta-base"}, "hf_model_name"),
        ("text_cfg", {"no_causal_mask": True}, "no_causal_mask=True"),
    ],
)
def test_open_clips_that_are_not_supported(tmp_path, part, change, message):
    directory = copied("open_clip", tmp_path)
    path = directory / "open_clip_config.json"
    edit(path, lambda config: config["model_cfg"][part].update(change))
    with pytest.raises(ValueError, match=f"plain ViT.*{message}"):
        load_dual_checkpoint(directory)


def test_a_tokenizer_of_another_model(tmp_path):
    directory = copied("clip", tmp_path)
    edit(directory / "config.json", lambda c: c["text_config"].update(vocab_size=1000))
    tensors = safetensors.numpy.load_file(directory / "model.safetensors")
    key = "text_model.embeddings.token_embedding.weight"
    tensors[key] = tensors[key][:1000]
    safetensors.numpy.save_file(tensors, directory / "model.safetensors")
    with pytest.raises(ValueError, match=r"ids below 1000.*tokenizer of 1024"):
        load_dual_checkpoint(directory)


def test_a_scale_must_be_there(tmp_path):
    directory = copied("siglip", tmp_path)
    tensors = safetensors.numpy.load_file(directory / "model.safetensors")
    del tensors["logit_bias"]
    safetensors.numpy.save_file(tensors, directory / "model.safetensors")
    with pytest.raises(ValueError, match="must hold logit_scale and logit_bias"):
        load_dual_checkpoint(directory)


@pytest.mark.parametrize(
    ("name", "activation"),
    [
        ("vit_base_patch16_siglip_512", "gelu"),
        ("vit_base_patch32_siglip_256", "gelu_pytorch_tanh"),
        ("vit_large_patch16_siglip_384", "gelu"),
        ("vit_large_patch16_siglip_512", "gelu_pytorch_tanh"),
        ("vit_so400m_patch14_siglip_384", "gelu"),
        ("vit_so400m_patch16_siglip_256", "gelu_pytorch_tanh"),
        ("vit_giantopt_patch16_siglip_256", "gelu_pytorch_tanh"),
    ],
)
def test_activations_are_those_that_timm_has(name, activation):
    """As read off the models of timm 1.0.31."""
    tensors = safetensors.numpy.load_file(
        GOLDEN / "open_clip_siglip" / "open_clip_model.safetensors"
    )
    config = transformers_config(
        {"vision_cfg": {"timm_model_name": name}}, transformers_tensors(tensors)
    )
    assert config["vision_config"]["hidden_act"] == activation
