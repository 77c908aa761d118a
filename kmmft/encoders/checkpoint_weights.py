"""Which tensor of a CLIP or SigLIP checkpoint is which weight, and its layout.

Names are those of `transformers`. A fused projection of queries, keys and values is
taken as its three parts, `q_proj`, `k_proj` and `v_proj`.
"""

from collections.abc import Iterable

import keras
import numpy as np

_Weights = dict[str, keras.Variable]
# Buffers that older versions stored; they say nothing.
_BUFFERS = ("position_ids", "attn_mask")
_FUSED = ("in_proj_weight", "in_proj_bias")
_PARTS = ("q_proj", "k_proj", "v_proj")
_NAMED = 5  # names shown in an error


def clip_image_weights(
    backbone: keras.Model, projection: keras.layers.Layer
) -> _Weights:
    """The weights of `CLIPVisionEncoder` and of its projection by tensor name."""
    embedding = backbone.embedding
    return {
        "vision_model.embeddings.class_embedding": embedding.class_embedding,
        **_image_embedding(embedding),
        **_norm(backbone.pre_layer_norm, "vision_model.pre_layrnorm"),
        **_clip_blocks(backbone, "vision_model"),
        **_norm(backbone.layer_norm, "vision_model.post_layernorm"),
        **_dense(projection, "visual_projection"),
    }


def clip_text_weights(
    backbone: keras.Model, projection: keras.layers.Layer
) -> _Weights:
    """The weights of `CLIPTextEncoder` and of its projection by tensor name."""
    return {
        **_text_embedding(backbone.embedding),
        **_clip_blocks(backbone, "text_model"),
        **_norm(backbone.layer_norm, "text_model.final_layer_norm"),
        **_dense(projection, "text_projection"),
    }


def siglip_image_weights(backbone: keras.Model) -> _Weights:
    """The weights of `SigLIPVisionEncoder` by tensor name."""
    head, key = backbone.head, "vision_model.head"
    return {
        **_image_embedding(backbone.embedding),
        **_siglip_blocks(backbone, "vision_model"),
        **_norm(backbone.post_layer_norm, "vision_model.post_layernorm"),
        f"{key}.probe": head.probe,
        **_attention(head.attention, f"{key}.attention"),
        **_norm(head.layer_norm, f"{key}.layernorm"),
        **_dense(head.mlp.fc1, f"{key}.mlp.fc1"),
        **_dense(head.mlp.fc2, f"{key}.mlp.fc2"),
    }


def siglip_text_weights(backbone: keras.Model) -> _Weights:
    """The weights of `SigLIPTextEncoder` by tensor name."""
    return {
        **_text_embedding(backbone.embedding),
        **_siglip_blocks(backbone, "text_model"),
        **_norm(backbone.post_layer_norm, "text_model.final_layer_norm"),
        **_dense(backbone.head, "text_model.head"),
    }


def assign_tensors(weights: _Weights, tensors: dict[str, np.ndarray]) -> None:
    """Gives each weight its tensor.

    Raises:
        ValueError: If a tensor is missing, left over, or of another shape.
    """
    missing = sorted(weights.keys() - tensors.keys())
    if missing:
        raise ValueError(
            "The checkpoint must hold a tensor for each weight. Received: none for "
            f"{_some(missing)}. Check that weights and configuration belong together"
        )
    left = [n for n in sorted(tensors.keys() - weights.keys()) if not _is_buffer(n)]
    if left:
        raise ValueError(
            "Each tensor of the checkpoint must have its place in the model. "
            f"Received: {_some(left)}, which have none. This is another architecture "
            "than the configuration says, or one that is not supported"
        )
    for name, weight in weights.items():
        tensor, shape = tensors[name], _torch_layout(weight, name).shape
        if tensor.shape != shape:
            raise ValueError(
                f"{name} must have the shape {shape} by the checkpoint's "
                f"configuration. Received: {tensor.shape}. Check that weights and "
                "configuration belong together"
            )
        weight.assign(_keras_layout(tensor, weight).astype("float32"))


def to_tensors(weights: _Weights) -> dict[str, np.ndarray]:
    """The weights as tensors in PyTorch's layout, contiguous, float32."""
    return {
        name: np.ascontiguousarray(
            _torch_layout(weight, name, weight.numpy()), "float32"
        )
        for name, weight in weights.items()
    }


def split_fused(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Cuts `...in_proj_weight` and `...in_proj_bias` into `...q_proj.weight`, ..."""
    result = {}
    for name, tensor in tensors.items():
        if not name.endswith(_FUSED):
            result[name] = tensor
            continue
        stem, kind = name.split("in_proj_")
        for part, piece in zip(_PARTS, np.split(tensor, 3), strict=True):
            result[f"{stem}{part}.{kind}"] = piece
    return result


def fuse(tensors: dict[str, np.ndarray], stem: str) -> dict[str, np.ndarray]:
    """The other way, for the attention of this name."""
    tensors = dict(tensors)
    for kind in ("weight", "bias"):
        parts = [tensors.pop(f"{stem}.{part}.{kind}") for part in _PARTS]
        tensors[f"{stem}.in_proj_{kind}"] = np.concatenate(parts)
    return tensors


# === Layouts ===
def _torch_layout(weight, name, value=None) -> np.ndarray:
    if value is None:  # only the shape is wanted
        value = np.broadcast_to(np.float32(0.0), weight.shape)
    if weight.name == "bias":
        return value.reshape(-1)
    if weight.name != "kernel":
        return value
    if value.ndim == 4:
        return value.transpose(3, 2, 0, 1)
    # Heads are an axis of their own: before the last one where they are joined.
    axes = -1 if name.endswith("out_proj.weight") else 1
    return value.reshape(int(np.prod(value.shape[:axes])), -1).T


def _keras_layout(tensor, weight) -> np.ndarray:
    if weight.name == "kernel":
        tensor = tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor.T
    return tensor.reshape(weight.shape)


def _is_buffer(name: str) -> bool:
    return name.endswith(_BUFFERS)


def _some(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


# === Parts ===
def _dense(layer, key: str) -> _Weights:
    weights = {f"{key}.weight": layer.kernel}
    return weights if layer.bias is None else {**weights, f"{key}.bias": layer.bias}


def _norm(layer, key: str) -> _Weights:
    return {f"{key}.weight": layer.gamma, f"{key}.bias": layer.beta}


def _attention(layer, key: str) -> _Weights:
    return {
        **_dense(layer.query_dense, f"{key}.q_proj"),
        **_dense(layer.key_dense, f"{key}.k_proj"),
        **_dense(layer.value_dense, f"{key}.v_proj"),
        **_dense(layer.output_dense, f"{key}.out_proj"),
    }


def _image_embedding(layer) -> _Weights:
    key = "vision_model.embeddings"
    return {
        **_dense(layer.patch_embedding, f"{key}.patch_embedding"),
        f"{key}.position_embedding.weight": layer.position_embedding.embeddings,
    }


def _text_embedding(layer) -> _Weights:
    key = "text_model.embeddings"
    position, attribute = layer.position_embedding, "position_embeddings"  # CLIP's
    if not hasattr(position, attribute):
        attribute = "embeddings"  # SigLIP's
    return {
        f"{key}.token_embedding.weight": layer.token_embedding.embeddings,
        f"{key}.position_embedding.weight": getattr(position, attribute),
    }


def _clip_blocks(backbone, key: str) -> _Weights:
    weights = {}
    for index, block in enumerate(backbone.encoder_layers):
        here = f"{key}.encoder.layers.{index}"
        weights |= _norm(block.layer_norm_1, f"{here}.layer_norm1")
        weights |= _attention(block.attention, f"{here}.self_attn")
        weights |= _norm(block.layer_norm_2, f"{here}.layer_norm2")
        weights |= _dense(block.dense_1, f"{here}.mlp.fc1")
        weights |= _dense(block.dense_2, f"{here}.mlp.fc2")
    return weights


def _siglip_blocks(backbone, key: str) -> _Weights:
    weights = {}
    for index, block in enumerate(backbone.encoder_layers):
        here = f"{key}.encoder.layers.{index}"
        weights |= _norm(block.layer_norm1, f"{here}.layer_norm1")
        weights |= _attention(block.self_attn, f"{here}.self_attn")
        weights |= _norm(block.layer_norm2, f"{here}.layer_norm2")
        weights |= _dense(block.mlp.fc1, f"{here}.mlp.fc1")
        weights |= _dense(block.mlp.fc2, f"{here}.mlp.fc2")
    return weights
