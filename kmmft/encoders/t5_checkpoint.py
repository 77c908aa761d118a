"""T5 checkpoints in the layout of `transformers`, which KerasHub does not convert."""

import pathlib

import keras
import keras_hub
from keras_hub.src.utils.keras_utils import gelu_approximate

from kmmft.encoders.checkpoint_files import find_checkpoint
from kmmft.encoders.checkpoint_weights import assign_tensors
from kmmft.encoders.handles import load_or_explain, read_json

# What a configuration that leaves a setting out means.
_DEFAULTS = {"feed_forward_proj": "relu"}
_DEFAULTS |= {"dropout_rate": 0.1, "layer_norm_epsilon": 1e-6}
# The activation, and whether the feed-forward is gated.
_FEED_FORWARD = {"relu": ("relu", False), "gated-gelu": (gelu_approximate, True)}
# Older files have the shared vectors under these names, too.
_COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
# KerasHub's layers know only these.
_FIXED = {
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
}


def is_t5_checkpoint(handle: str) -> bool:
    """Whether `handle` is a T5 of `transformers`: a local directory or `hf://...`."""
    if not handle.startswith("hf://") and not pathlib.Path(handle).is_dir():
        return False
    config = load_or_explain(
        lambda: read_json(handle, "config.json"), handle, "a text encoder"
    )
    return config.get("model_type") == "t5"


def load_t5_checkpoint(
    handle: str, load_weights: bool = True
) -> tuple[keras_hub.models.T5Backbone, keras_hub.tokenizers.T5Tokenizer]:
    """Loads T5, T5 1.1 or Flan-T5.

    Args:
        handle: Directory with config.json, spiece.model and the weights, or hf://...
        load_weights: False gives the architecture with random weights.

    Returns:
        The backbone and its tokenizer.

    Raises:
        ValueError: If a file is missing, or the architecture is not supported.
    """
    files = find_checkpoint(handle)
    if not files.has("spiece.model"):
        raise ValueError(
            "A T5 must have its words in spiece.model. Received: "
            f"{handle}, without it. Download it, too."
        )
    backbone = keras_hub.models.T5Backbone(**_settings(files.config))
    if load_weights:
        tensors = files.tensors()
        for name in _COPIES:
            tensors.pop(name, None)
        output = tensors.pop("lm_head.weight", tensors["shared.weight"])
        if not backbone.tie_embedding_weights:
            tensors["lm_head.weight"] = output.T
        assign_tensors(_weights(backbone), tensors)
    proto = files.path("spiece.model").read_bytes()
    return backbone, keras_hub.tokenizers.T5Tokenizer(proto)


def _settings(config: dict) -> dict:
    config = {**_DEFAULTS, **config}
    layers = config["num_layers"]
    fixed = {key: config.get(key, value) for key, value in _FIXED.items()}
    form = config["feed_forward_proj"]
    same_depth = config.get("num_decoder_layers") in (None, layers)
    if form not in _FEED_FORWARD or not same_depth or fixed != _FIXED:
        raise ValueError(
            f"A T5 must have {' or '.join(_FEED_FORWARD)} as feed_forward_proj, as "
            f"many decoder as encoder layers, and {_FIXED}. Received: {form}, "
            f"num_layers={layers}, num_decoder_layers="
            f"{config.get('num_decoder_layers')}, {fixed}."
        )
    activation, gated = _FEED_FORWARD[form]
    return {
        "vocabulary_size": config["vocab_size"],
        "num_layers": layers,
        "num_heads": config["num_heads"],
        "hidden_dim": config["d_model"],
        "intermediate_dim": config["d_ff"],
        "key_value_dim": config["d_kv"],
        "dropout": config["dropout_rate"],
        "activation": activation,
        "use_gated_activation": gated,
        "layer_norm_epsilon": config["layer_norm_epsilon"],
        # Newer files tell by another name whether logits are scaled, as KerasHub
        # scales those by shared words.
        "tie_embedding_weights": config.get(
            "scale_decoder_outputs", config.get("tie_word_embeddings", True)
        ),
    }


def _weights(backbone: keras_hub.models.T5Backbone) -> dict[str, keras.Variable]:
    """The weights by the names of `transformers`."""
    weights = {
        "shared.weight": backbone.token_embedding.embeddings,
        "encoder.final_layer_norm.weight": backbone.encoder_layer_norm.weight,
        "decoder.final_layer_norm.weight": backbone.decoder_layer_norm.weight,
    }
    if not backbone.tie_embedding_weights:
        weights["lm_head.weight"] = backbone.token_embedding.reverse_embeddings
    for half in ("encoder", "decoder"):
        blocks = getattr(backbone, f"{half}_transformer_layers")
        for index, block in enumerate(blocks):
            weights |= _block(block, f"{half}.block.{index}.layer")
    return weights


def _block(block, key: str) -> dict[str, keras.Variable]:
    weights = {
        f"{key}.0.layer_norm.weight": block.self_attention_layer_norm.weight,
        **_attention(block.self_attention, f"{key}.0.SelfAttention"),
    }
    last = 1
    if block.is_decoder:
        weights |= {
            f"{key}.1.layer_norm.weight": block.cross_attention_layer_norm.weight,
            **_attention(block.cross_attention, f"{key}.1.EncDecAttention"),
        }
        last = 2
    dense = f"{key}.{last}.DenseReluDense"
    gated = block.use_gated_activation
    weights[f"{dense}.{'wi_0' if gated else 'wi'}.weight"] = (
        block.input_projector.kernel
    )
    if gated:
        weights[f"{dense}.wi_1.weight"] = block.gate_projector.kernel
    weights[f"{dense}.wo.weight"] = block.output_projector.kernel
    weights[f"{key}.{last}.layer_norm.weight"] = block.layer_norm.weight
    return weights


def _attention(layer, key: str) -> dict[str, keras.Variable]:
    weights = {
        f"{key}.q.weight": layer.query_projector.kernel,
        f"{key}.k.weight": layer.key_projector.kernel,
        f"{key}.v.weight": layer.value_projector.kernel,
        f"{key}.o.weight": layer.output_projector.kernel,
    }
    if layer.use_relative_attention_bias:
        name = f"{key}.relative_attention_bias.weight"
        weights[name] = layer.relative_attention_bias
    return weights
