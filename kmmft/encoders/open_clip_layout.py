"""open_clip's ViT CLIPs and SigLIPs in the names and settings of `transformers`."""

import re

import numpy as np

_BLOCKS = (
    (r"ln_([12])\.", r"layer_norm\1."),
    (r"norm([12])\.", r"layer_norm\1."),
    (r"mlp\.c_fc\.", "mlp.fc1."),
    (r"mlp\.c_proj\.", "mlp.fc2."),
    (r"attn\.qkv\.", "self_attn.in_proj_"),
    (r"attn\.in_proj_", "self_attn.in_proj_"),
    (r"attn\.(out_)?proj\.", "self_attn.out_proj."),
)
_NAMES = (
    (r"visual\.class_embedding", "vision_model.embeddings.class_embedding"),
    (
        r"visual\.(positional_embedding|trunk\.pos_embed)",
        "vision_model.embeddings.position_embedding.weight",
    ),
    (
        r"visual\.(conv1|trunk\.patch_embed\.proj)\.",
        "vision_model.embeddings.patch_embedding.",
    ),
    (r"visual\.ln_pre\.", "vision_model.pre_layrnorm."),
    (r"visual\.(ln_post|trunk\.norm)\.", "vision_model.post_layernorm."),
    (r"visual\.proj", "visual_projection.weight"),
    (r"visual\.trunk\.attn_pool\.latent", "vision_model.head.probe"),
    (r"visual\.trunk\.attn_pool\.q\.", "vision_model.head.attention.q_proj."),
    (r"visual\.trunk\.attn_pool\.kv\.", "vision_model.head.attention.kv_proj."),
    (r"visual\.trunk\.attn_pool\.proj\.", "vision_model.head.attention.out_proj."),
    (r"visual\.trunk\.attn_pool\.norm\.", "vision_model.head.layernorm."),
    (r"visual\.trunk\.attn_pool\.mlp\.", "vision_model.head.mlp."),
    (r"visual\.(transformer\.res|trunk\.)blocks\.", "vision_model.encoder.layers."),
    (r"transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"token_embedding\.weight", "text_model.embeddings.token_embedding.weight"),
    (r"positional_embedding", "text_model.embeddings.position_embedding.weight"),
    (r"ln_final\.", "text_model.final_layer_norm."),
    (r"text_projection$", "text_projection.weight"),
    (r"text_projection\.", "text_model.head."),
)
# Stored the other way round than a linear layer's weight.
_TRANSPOSED = ("visual.proj", "text_projection")
# Heads of timm's vision transformers; the rest can be read off the tensors.
_TIMM_HEADS = {"base": 12, "large": 16, "so400m": 16, "giantopt": 16}
_TIMM_NAME = re.compile(r"vit_(base|large|so400m|giantopt)_patch\d+_siglip_\d+$")
# timm gives the later ones the tanh approximation of GELU.
_TIMM_TANH = re.compile(
    "vit_(giantopt|so400m_patch16|base_patch32|large_patch16_siglip_512)"
)
# Settings that change nothing here, or that are read below.
_VISION = {
    "layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size",
    "patch_dropout", "output_tokens", "timm_model_name", "timm_model_pretrained",
    "timm_pool", "timm_proj", "timm_drop", "timm_drop_path",
}  # fmt: skip
_TEXT = {
    "context_length", "vocab_size", "hf_tokenizer_name", "tokenizer_kwargs", "width",
    "heads", "layers", "mlp_ratio", "no_causal_mask", "pool_type", "proj_bias",
    "proj_type", "norm_kwargs", "act_kwargs", "pad_id", "eos_id", "output_tokens",
}  # fmt: skip


def check_supported(model: dict) -> None:
    """Looks whether an open_clip model can be read.

    Args:
        model: `model_cfg` of open_clip's configuration.

    Raises:
        ValueError: If it is none of the supported architectures.
    """
    vision, text = model.get("vision_cfg", {}), model.get("text_cfg", {})
    siglip = "timm_model_name" in vision
    vision = {k: v for k, v in vision.items() if (k, v) != ("pool_type", "tok")}
    problems = [f"vision_cfg.{k}" for k, v in vision.items() if v and k not in _VISION]
    problems += [f"text_cfg.{k}" for k, v in text.items() if v and k not in _TEXT]
    if isinstance(vision.get("layers"), list):
        problems.append("a ResNet")
    if siglip and not _TIMM_NAME.match(vision["timm_model_name"]):
        problems.append(vision["timm_model_name"])
    expected = {"no_causal_mask": siglip, "proj_bias": siglip}
    expected["pool_type"] = "last" if siglip else "argmax"
    defaults = {"pool_type": "argmax"}
    for key, value in expected.items():
        if text.get(key, defaults.get(key, False)) != value:
            problems.append(f"text_cfg.{key}={text.get(key)}")
    if problems:
        raise ValueError(
            "Of open_clip's models, CLIPs with a plain ViT and SigLIPs with timm's "
            f"vit_*_siglip_* can be read. Received: {', '.join(problems)}. Convert "
            "another model to the layout of `transformers` first"
        )


def transformers_config(model: dict, tensors: dict[str, np.ndarray]) -> dict:
    """The configuration that `transformers` would have for the same model.

    Args:
        model: `model_cfg` of open_clip's configuration.
        tensors: The tensors in the names of `transformers`.
    """
    vision, text = model.get("vision_cfg", {}), model.get("text_cfg", {})
    make = _siglip_config if "timm_model_name" in vision else _clip_config
    return make(model, vision, text, tensors)


def transformers_tensors(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """open_clip's tensors in the names and layouts of `transformers`."""
    result = {}
    for name, tensor in tensors.items():
        name = name.removeprefix("text.")
        new = next(
            (
                re.sub(f"^{old}", new, name)
                for old, new in _NAMES
                if re.match(old, name)
            ),
            name,
        )
        if ".encoder.layers." in new:
            head, index, rest = re.match(r"(.*layers\.)(\d+\.)(.*)", new).groups()
            for old, other in _BLOCKS:
                rest = re.sub(f"^{old}", other, rest)
            new = head + index + rest
        if ".kv_proj." in new:
            for part, piece in zip("kv", np.split(tensor, 2), strict=True):
                result[new.replace("kv_proj", f"{part}_proj")] = piece
            continue
        if name.endswith("trunk.pos_embed"):
            tensor = tensor[0]
        result[new] = tensor.T if name in _TRANSPOSED else tensor
    return result


def _clip_config(model, vision, text, tensors) -> dict:
    activation = "quick_gelu" if model.get("quick_gelu") else "gelu"
    width = vision.get("width", 768)
    return {
        "model_type": "clip",
        "projection_dim": model.get("embed_dim"),
        "vision_config": {
            "hidden_size": width,
            "intermediate_size": int(width * vision.get("mlp_ratio", 4.0)),
            "num_hidden_layers": vision.get("layers", 12),
            "num_attention_heads": width // vision.get("head_width", 64),
            "image_size": vision.get("image_size", 224),
            "patch_size": vision.get("patch_size", 16),
            "hidden_act": activation,
            "layer_norm_eps": 1e-5,
        },
        "text_config": _text_config(text, activation, 512, 8, 77, 49408, 1e-5),
    }


def _siglip_config(model, vision, text, tensors) -> dict:
    name = vision["timm_model_name"]
    positions = tensors.get("vision_model.embeddings.position_embedding.weight")
    patches = tensors.get("vision_model.embeddings.patch_embedding.weight")
    hidden = tensors.get("vision_model.encoder.layers.0.mlp.fc1.weight")
    if positions is None or patches is None or hidden is None:
        raise ValueError(
            "An open_clip SigLIP must hold a timm vision transformer in visual.trunk. "
            "Received: a checkpoint without. Check that weights and configuration "
            "belong together"
        )
    layers = [re.match(r"vision_model\.encoder\.layers\.(\d+)", n) for n in tensors]
    approximate = (text.get("act_kwargs") or {}).get("approximate") == "tanh"
    activation = "gelu_pytorch_tanh" if approximate else "gelu"
    epsilon = (text.get("norm_kwargs") or {}).get("eps", 1e-5)
    return {
        "model_type": "siglip",
        "vision_config": {
            "hidden_size": positions.shape[1],
            "intermediate_size": hidden.shape[0],
            "num_hidden_layers": 1 + max(int(found[1]) for found in layers if found),
            "num_attention_heads": _TIMM_HEADS[_TIMM_NAME.match(name)[1]],
            "image_size": vision.get("image_size", 224),
            "patch_size": patches.shape[-1],
            "hidden_act": "gelu_pytorch_tanh" if _TIMM_TANH.match(name) else "gelu",
            "layer_norm_eps": 1e-6,
        },
        "text_config": {
            **_text_config(text, activation, 768, 12, 64, 32000, epsilon),
            "projection_size": model.get("embed_dim"),
        },
    }


def _text_config(text, activation, width, heads, length, vocabulary, epsilon) -> dict:
    width = text.get("width", width)
    return {
        "hidden_size": width,
        "intermediate_size": int(width * text.get("mlp_ratio", 4.0)),
        "num_hidden_layers": text.get("layers", 12),
        "num_attention_heads": text.get("heads", heads),
        "max_position_embeddings": text.get("context_length", length),
        "vocab_size": text.get("vocab_size", vocabulary),
        "hidden_act": activation,
        "layer_norm_eps": epsilon,
    }
