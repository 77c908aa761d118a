"""From a checkpoint's files to KerasHub's towers with the checkpoint's weights."""

import dataclasses
import math
import pathlib
from collections.abc import Callable

import keras
import keras_hub

from kmmft.encoders import open_clip_layout
from kmmft.encoders.checkpoint_files import CheckpointFiles, find_checkpoint
from kmmft.encoders.checkpoint_tokenizers import read_tokenizer
from kmmft.encoders.checkpoint_weights import (
    assign_tensors,
    clip_image_weights,
    clip_text_weights,
    siglip_image_weights,
    siglip_text_weights,
    split_fused,
)
from kmmft.encoders.clip_text_backbone import ClipTextBackbone

# What a configuration that leaves a setting out means.
_DEFAULTS = {
    "clip": (
        {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
         "num_attention_heads": 12, "image_size": 224, "patch_size": 32,
         "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
        {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12,
         "num_attention_heads": 8, "max_position_embeddings": 77,
         "vocab_size": 49408, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
    ),
    "siglip": (
        {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
         "num_attention_heads": 12, "image_size": 224, "patch_size": 16,
         "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6},
        {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
         "num_attention_heads": 12, "max_position_embeddings": 64,
         "vocab_size": 32000, "hidden_act": "gelu_pytorch_tanh",
         "layer_norm_eps": 1e-6},
    ),
}  # fmt: skip
# KerasHub's names of activations by those of `transformers`.
ACTIVATIONS = {
    "quick_gelu": "quick_gelu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_approximate",
}
# What KerasHub's layer norms have.
EPSILONS = {"clip": 1e-5, "siglip": 1e-6}
_PILLOW_BILINEAR = 2
_RESIZE_MODES = {"shortest": "crop", "squash": "stretch", "longest": "pad"}


@dataclasses.dataclass(frozen=True)
class Towers:
    """The parts of a dual encoder's checkpoint.

    Attributes:
        image: Image backbone, for images of the size it was trained with.
        image_projection: Layer after its pooling, or `None`.
        image_options: Arguments of `ImageEncoder`: what preprocessing it wants.
        text: Text backbone.
        text_projection: Layer after its pooling, or `None`.
        tokenizer: The tokenizer, or `None` if the checkpoint has none.
        logit_scale: Factor of the cosine similarities.
        logit_bias: What is added to them, or `None`.
        antialias: Whether the library that wrote the checkpoint resizes position
            embeddings with antialiasing.
    """

    image: keras.Model
    image_projection: keras.layers.Layer | None
    image_options: dict
    text: keras.Model
    text_projection: keras.layers.Layer | None
    tokenizer: keras.layers.Layer | None
    logit_scale: float
    logit_bias: float | None
    antialias: bool


def load_towers(path: str | pathlib.Path) -> Towers:
    """Reads a CLIP or SigLIP checkpoint; see `load_dual_checkpoint`."""
    files = find_checkpoint(path)
    config, tensors = _config_and_tensors(files)
    kind = _kind(config, path)
    image_config, text_config = (_settings(config, kind, i) for i in range(2))
    tensors = split_fused(tensors() if callable(tensors) else tensors)
    scale, bias = _scale_and_bias(tensors, kind)
    image = _image_backbone(kind, image_config)
    text = _text_backbone(kind, text_config)
    projections = (None, None)
    if kind == "clip":
        width = config.get("projection_dim", 512)
        projections = (
            _projection(width, image_config, "vision_projection"),
            _projection(width, text_config, "text_projection"),
        )
    assign_tensors(weights_of(kind, image, text, *projections), tensors)
    tokenizer = read_tokenizer(files, kind)
    _check_vocabulary(tokenizer, text)
    return Towers(
        image,
        projections[0],
        _image_options(files, kind),
        text,
        projections[1],
        tokenizer,
        scale,
        bias,
        files.layout == "open_clip",
    )


def _config_and_tensors(files: CheckpointFiles) -> tuple[dict, dict | Callable]:
    if files.layout == "transformers":
        return files.config, files.tensors  # read when the configuration is good
    model = files.config.get("model_cfg", files.config)
    open_clip_layout.check_supported(model)
    tensors = open_clip_layout.transformers_tensors(files.tensors())
    return open_clip_layout.transformers_config(model, tensors), tensors


def _scale_and_bias(tensors: dict, kind: str) -> tuple[float, float | None]:
    scale, bias = (tensors.pop(n, None) for n in ("logit_scale", "logit_bias"))
    if scale is None or (kind == "siglip") != (bias is not None):
        raise ValueError(
            f"A {kind} checkpoint must hold logit_scale and "
            f"{'' if kind == 'siglip' else 'no '}logit_bias. Received: "
            f"logit_scale={scale}, logit_bias={bias}. Check that weights and "
            "configuration belong together"
        )
    scale = math.exp(scale.item())
    return scale, None if bias is None else float(bias.item())


def _check_vocabulary(tokenizer: keras.layers.Layer | None, text: keras.Model) -> None:
    size = 0 if tokenizer is None else tokenizer.vocabulary_size()
    if size > text.vocabulary_size:
        raise ValueError(
            f"The tokenizer must make ids below {text.vocabulary_size}, the "
            f"configuration's `vocab_size`. Received: a tokenizer of {size} tokens. "
            "Check that tokenizer and configuration belong together"
        )


def _kind(config: dict, path: str | pathlib.Path) -> str:
    kind = config.get("model_type")
    names = config.get("architectures") or ["CLIPModel"]
    if kind not in _DEFAULTS or names[0] not in ("CLIPModel", "SiglipModel"):
        hint = "Take another checkpoint"
        if kind == "siglip2":
            hint = "Take a SigLIP 2 of fixed resolution, such as patch16-224"
        raise ValueError(
            "The checkpoint must be a CLIPModel or a SiglipModel of `transformers`, or "
            "a ViT CLIP or SigLIP of open_clip. Received: "
            f"model_type={kind!r}, architectures={config.get('architectures')} in "
            f"{path}. {hint}"
        )
    return kind


def _settings(config: dict, kind: str, index: int) -> dict:
    name = ("vision_config", "text_config")[index]
    # Old files have both, and then the second one counts.
    given = {**(config.get(name) or {}), **(config.get(f"{name}_dict") or {})}
    settings = {**_DEFAULTS[kind][index], **given}
    if settings["hidden_act"] not in ACTIVATIONS or (
        kind == "clip" and settings["hidden_act"] == "gelu_pytorch_tanh"
    ):
        raise ValueError(
            f"`{name}.hidden_act` must be 'quick_gelu', 'gelu' or, for SigLIP, "
            f"'gelu_pytorch_tanh'. Received: {settings['hidden_act']!r}"
        )
    if settings["layer_norm_eps"] != EPSILONS[kind]:
        raise ValueError(
            f"`{name}.layer_norm_eps` must be {EPSILONS[kind]}, which KerasHub's "
            f"{kind} has. Received: {settings['layer_norm_eps']}"
        )
    if settings.get("num_channels", 3) != 3 or not settings.get(
        "vision_use_head", True
    ):
        raise ValueError(
            f"`{name}` must be of a model for colour images with its pooling head. "
            f"Received: num_channels={settings.get('num_channels')}, "
            f"vision_use_head={settings.get('vision_use_head')}"
        )
    return settings


def _sizes(settings: dict) -> dict:
    return {
        "hidden_dim": settings["hidden_size"],
        "num_layers": settings["num_hidden_layers"],
        "num_heads": settings["num_attention_heads"],
        "intermediate_dim": settings["intermediate_size"],
        "intermediate_activation": ACTIVATIONS[settings["hidden_act"]],
    }


def _image_backbone(kind: str, settings: dict) -> keras.Model:
    size = settings["image_size"]
    size = (size, size) if isinstance(size, int) else tuple(size)
    make = keras_hub.models.SigLIPVisionEncoder
    if kind == "clip":
        make = keras_hub.models.CLIPVisionEncoder
    return make(
        patch_size=settings["patch_size"], image_shape=(*size, 3), **_sizes(settings)
    )


def _text_backbone(kind: str, settings: dict) -> keras.Model:
    arguments = {
        "vocabulary_size": settings["vocab_size"],
        "embedding_dim": settings["hidden_size"],
        "max_sequence_length": settings["max_position_embeddings"],
        **_sizes(settings),
    }
    if kind == "clip":
        return ClipTextBackbone(**arguments)
    width = settings.get("projection_size") or settings["hidden_size"]
    return keras_hub.models.SigLIPTextEncoder(**arguments, projection_dim=width)


def _projection(width: int, settings: dict, name: str) -> keras.layers.Layer:
    projection = keras.layers.Dense(width, use_bias=False, name=name)
    projection.build((None, settings["hidden_size"]))
    return projection


def weights_of(
    kind: str,
    image: keras.Model,
    text: keras.Model,
    image_projection: keras.layers.Layer | None,
    text_projection: keras.layers.Layer | None,
) -> dict[str, keras.Variable]:
    """All weights of a `"clip"` or `"siglip"` by tensor name."""
    if kind == "siglip":
        return {**siglip_image_weights(image), **siglip_text_weights(text)}
    return {
        **clip_image_weights(image, image_projection),
        **clip_text_weights(text, text_projection),
    }


def _image_options(files: CheckpointFiles, kind: str) -> dict:
    """Arguments of `ImageEncoder`, as far as the checkpoint names them."""
    if files.layout == "open_clip":
        config = files.config.get("preprocess_cfg", {})
        mode = _RESIZE_MODES.get(config.get("resize_mode"))
        means, deviations, factor = config.get("mean"), config.get("std"), 1 / 255
        bilinear = config.get("interpolation") == "bilinear"
    else:
        config = files.json("preprocessor_config.json")
        mode = "crop" if config.get("do_center_crop") else "stretch"
        means, deviations = config.get("image_mean"), config.get("image_std")
        factor = config.get("rescale_factor", 1 / 255)
        bilinear = config.get("resample") == _PILLOW_BILINEAR
    options = {
        "resize_mode": mode if config and mode else _mode(kind),
        "interpolation": "bilinear" if bilinear else "bicubic",
    }
    if means and deviations:
        options["mean"] = tuple(mean / factor for mean in means)
        options["std"] = tuple(std / factor for std in deviations)
    return options


def _mode(kind: str) -> str:
    return "crop" if kind == "clip" else "stretch"
