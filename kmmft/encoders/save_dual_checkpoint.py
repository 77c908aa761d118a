"""Writes a pair of encoders as a CLIP or SigLIP of `transformers`."""

import json
import pathlib
import tempfile

import keras
import keras_hub
import numpy as np

from kmmft.encoders.checkpoint_tokenizers import write_tokenizer
from kmmft.encoders.checkpoint_towers import ACTIVATIONS, EPSILONS, weights_of
from kmmft.encoders.checkpoint_weights import fuse, to_tensors
from kmmft.encoders.image_encoder import ImageEncoder
from kmmft.encoders.text_encoder import TextEncoder

_models = keras_hub.models
_BACKBONES = {
    "clip": (_models.CLIPVisionEncoder, _models.CLIPTextEncoder),
    "siglip": (_models.SigLIPVisionEncoder, _models.SigLIPTextEncoder),
}
_POOLING = {"clip": ("cls", "last"), "siglip": ("pooler", "pooler")}
_ARCHITECTURES = {"clip": "CLIPModel", "siglip": "SiglipModel"}
_PROCESSORS = {"clip": "CLIPImageProcessor", "siglip": "SiglipImageProcessor"}
_PILLOW_FILTERS = {"bilinear": 2, "bicubic": 3}


def save_dual_checkpoint(
    directory: str | pathlib.Path,
    image_encoder: ImageEncoder,
    text_encoder: TextEncoder,
    logit_scale: float,
    logit_bias: float | None = None,
    format: str = "transformers",
) -> None:
    """Writes a directory that `transformers` loads, with the same outputs.

    `AutoModel.from_pretrained(directory)` gives the model, and
    `AutoProcessor.from_pretrained(directory)` its preprocessing. The directory
    appears when it is whole. Learnt weights are written as float32.

    Args:
        directory: Where to write. Must not exist, or be empty.
        image_encoder: An encoder around a CLIP or SigLIP image tower.
        text_encoder: An encoder around the text tower of the same kind.
        logit_scale: Factor of the cosine similarities.
        logit_bias: What is added to them. Needed for SigLIP; CLIP has none.
        format: `"transformers"`, the only one.

    Raises:
        ValueError: If `transformers` has no such model, or something is there
            already.

    Example:
        >>> import keras_hub, tempfile
        >>> sizes = dict(num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> image_encoder = kmmft.encoders.ImageEncoder(
        ...     keras_hub.models.CLIPVisionEncoder(
        ...         16, image_shape=(32, 32, 3), **sizes),
        ...     projection=keras.layers.Dense(4, use_bias=False))
        >>> text_encoder = kmmft.encoders.TextEncoder(
        ...     keras_hub.models.CLIPTextEncoder(60, 8, **sizes), None, 8,
        ...     projection=keras.layers.Dense(4, use_bias=False))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     kmmft.encoders.save_dual_checkpoint(
        ...         folder + "/clip", image_encoder, text_encoder, logit_scale=10.0)
        ...     dual = kmmft.encoders.load_dual_checkpoint(folder + "/clip")
        >>> dual.image_encoder.output_dim, round(dual.logit_scale, 4)
        (4, 10.0)
    """
    if format != "transformers":
        raise ValueError(f"`format` must be 'transformers'. Received: {format!r}")
    kind = _kind(image_encoder, text_encoder)
    _check(kind, image_encoder, text_encoder, logit_scale, logit_bias)
    directory = pathlib.Path(directory)
    if directory.exists() and any(directory.iterdir()):
        raise ValueError(
            "`directory` must not exist, or be empty. Received: "
            f"{directory}. Choose another one"
        )
    directory.parent.mkdir(parents=True, exist_ok=True)
    # The directory itself is one level down, because a temporary one shuts other
    # users out.
    with tempfile.TemporaryDirectory(prefix=".save-", dir=directory.parent) as folder:
        written = pathlib.Path(folder) / directory.name
        written.mkdir()
        _write_weights(
            written, kind, image_encoder, text_encoder, logit_scale, logit_bias
        )
        _write_json(written, "config.json", _config(kind, image_encoder, text_encoder))
        _write_json(
            written, "preprocessor_config.json", _processor(kind, image_encoder)
        )
        if text_encoder.tokenizer is not None:
            write_tokenizer(
                text_encoder.tokenizer, written, text_encoder.sequence_length
            )
        if directory.exists():
            directory.rmdir()
        written.rename(directory)


def _write_weights(directory, kind, image_encoder, text_encoder, scale, bias):
    import safetensors.numpy  # needed only here

    weights = weights_of(
        kind,
        image_encoder.backbone,
        text_encoder.backbone,
        image_encoder.projection,
        text_encoder.projection,
    )
    tensors = to_tensors(weights)
    tensors["logit_scale"] = np.array(np.log(scale), "float32")
    if kind == "siglip":
        tensors = fuse(tensors, "vision_model.head.attention")
        tensors["logit_scale"] = tensors["logit_scale"].reshape(1)
        tensors["logit_bias"] = np.array([bias], "float32")
    safetensors.numpy.save_file(
        tensors, directory / "model.safetensors", metadata={"format": "pt"}
    )


def _config(kind, image_encoder, text_encoder) -> dict:
    image, text = image_encoder.backbone, text_encoder.backbone
    text_config = {
        "model_type": f"{kind}_text_model",
        "vocab_size": text.vocabulary_size,
        "max_position_embeddings": text.max_sequence_length,
        **_settings(kind, text),
    }
    text_config |= _special_ids(text_encoder.tokenizer)
    config = {
        "architectures": [_ARCHITECTURES[kind]],
        "model_type": kind,
        "dtype": "float32",
        "text_config": text_config,
        "vision_config": {
            "model_type": f"{kind}_vision_model",
            "image_size": image.image_shape[0],
            "patch_size": image.patch_size,
            **_settings(kind, image),
        },
    }
    if kind == "siglip":
        text_config["projection_size"] = text_encoder.output_dim
        return config
    for part in (text_config, config["vision_config"], config):
        part["projection_dim"] = image_encoder.output_dim
    return config


def _special_ids(tokenizer) -> dict:
    if tokenizer is None:
        # To `transformers`, 2 means that a text ends at its largest id.
        return {"bos_token_id": None, "eos_token_id": 2, "pad_token_id": None}
    return {
        "bos_token_id": getattr(tokenizer, "start_token_id", None),
        "eos_token_id": tokenizer.end_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _settings(kind, backbone) -> dict:
    activations = {ours: theirs for theirs, ours in ACTIVATIONS.items()}
    return {
        "hidden_size": backbone.hidden_dim,
        "intermediate_size": backbone.intermediate_dim,
        "num_hidden_layers": backbone.num_layers,
        "num_attention_heads": backbone.num_heads,
        "hidden_act": activations[backbone.intermediate_activation],
        "layer_norm_eps": EPSILONS[kind],
    }


def _processor(kind, encoder) -> dict:
    height, width = encoder.image_size
    size = {"height": height, "width": width}
    crop = encoder.resize_mode == "crop"
    means, deviations = (
        value if isinstance(value, list | tuple) else [value] * 3
        for value in (encoder.mean, encoder.std)
    )
    processor = {
        "image_processor_type": "CLIPImageProcessor" if crop else _PROCESSORS[kind],
        "do_resize": True,
        "size": {"shortest_edge": height} if crop else size,
        "resample": _PILLOW_FILTERS[encoder.interpolation],
        "do_center_crop": crop,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [mean / 255 for mean in means],
        "image_std": [std / 255 for std in deviations],
    }
    return {**processor, "crop_size": size} if crop else processor


def _write_json(directory, name, content) -> None:
    text = json.dumps(content, indent=2, sort_keys=True)
    (directory / name).write_text(text + "\n")


# === Checks ===
def _kind(image_encoder, text_encoder) -> str:
    for kind, (image, text) in _BACKBONES.items():
        if isinstance(image_encoder.backbone, image) and isinstance(
            text_encoder.backbone, text
        ):
            return kind
    raise ValueError(
        "The encoders must hold the towers of a CLIP, or of a SigLIP. Received: "
        f"{type(image_encoder.backbone).__name__} and "
        f"{type(text_encoder.backbone).__name__}. `transformers` has no model for "
        "them: use `model.save` or an export"
    )


def _check(kind, image_encoder, text_encoder, logit_scale, logit_bias):
    if logit_scale <= 0 or (kind == "siglip") != (logit_bias is not None):
        raise ValueError(
            f"A {kind} must have a positive `logit_scale` and "
            f"{'a' if kind == 'siglip' else 'no'} `logit_bias`. Received: "
            f"logit_scale={logit_scale}, logit_bias={logit_bias}"
        )
    pooling = (image_encoder.pooling, text_encoder.pooling)
    if pooling != _POOLING[kind] or image_encoder.resize_mode == "pad":
        raise ValueError(
            f"A {kind} of `transformers` must pool by {_POOLING[kind]} and not pad "
            f"images. Received: pooling by {pooling}, "
            f"resize_mode={image_encoder.resize_mode!r}"
        )
    projections = (image_encoder.projection, text_encoder.projection)
    plain = [isinstance(p, keras.layers.Dense) and not p.use_bias for p in projections]
    if not (all(plain) if kind == "clip" else projections == (None, None)):
        raise ValueError(
            f"A {kind} of `transformers` must have "
            f"{'Dense layers without bias as projections' if kind == 'clip' else 'no'}"
            f"{'' if kind == 'clip' else ' projections'}. Received: {projections}"
        )
    towers = (image_encoder, text_encoder)
    if any(getattr(w, "lora_enabled", False) for t in towers for w in _layers(t)):
        raise ValueError(
            "The towers must have plain weights. Received: layers with LoRA. Add "
            "their products to the kernels first"
        )
    if image_encoder.output_dim != text_encoder.output_dim:
        raise ValueError(
            "Both encoders must have the same output width. Received: "
            f"{image_encoder.output_dim} and {text_encoder.output_dim}"
        )


def _layers(model: keras.Model) -> list[keras.layers.Layer]:
    return list(model._flatten_layers())
