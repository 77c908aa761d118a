"""Loads CLIPs and SigLIPs as a pair of encoders."""

import dataclasses
import pathlib

import keras
import keras_hub
import numpy as np

from kmmft.encoders.checkpoint_towers import load_towers
from kmmft.encoders.clip_text_backbone import ClipTextBackbone
from kmmft.encoders.clip_tokenizer import ClipTokenizer
from kmmft.encoders.handles import load_or_explain
from kmmft.encoders.image_encoder import ImageEncoder
from kmmft.encoders.presets import load_image_backbone, text_tower
from kmmft.encoders.siglip_tokenizer import SiglipTokenizer
from kmmft.encoders.text_encoder import TextEncoder

_HEADS = ("clip_head", "metaclip_2_head", "siglip_head")


@dataclasses.dataclass(frozen=True)
class DualCheckpoint:
    """A pretrained dual encoder in its parts.

    Attributes:
        image_encoder: Its image encoder, with the projection into the shared space.
        text_encoder: Its text encoder, likewise.
        logit_scale: Factor of the cosine similarities.
        logit_bias: What is added to them (SigLIP), or `None` (CLIP).
    """

    image_encoder: ImageEncoder
    text_encoder: TextEncoder
    logit_scale: float
    logit_bias: float | None


def load_dual_checkpoint(
    path: str | pathlib.Path,
    image_size: int | tuple[int, int] | None = None,
    sequence_length: int | None = None,
) -> DualCheckpoint:
    """Loads a CLIP or SigLIP of `transformers` or open_clip, without PyTorch.

    `CLIPModel` and `SiglipModel` (also SigLIP 2 of fixed resolution) are read, and
    open_clip's CLIPs with a plain ViT and SigLIPs. Outputs and token ids are those
    of the library that wrote the checkpoint.

    Args:
        path: A directory with configuration, weights (`.safetensors`, one file or
            several, or PyTorch's `.bin`) and tokenizer files; a `.safetensors` file
            with the others beside it; or `hf://user/name`.
        image_size: As in `ImageEncoder.from_backbone`; position embeddings are
            resized as that library does.
        sequence_length: As in `TextEncoder.from_backbone`.

    Returns:
        The encoders with the checkpoint's logit scale and bias.

    Raises:
        ValueError: If there is no such checkpoint, it is of another architecture or
            damaged, or weights and configuration contradict each other.

    References:
        - [Radford et al., 2021](https://arxiv.org/abs/2103.00020), figure 3.
        - [Zhai et al., 2023](https://arxiv.org/abs/2303.15343), algorithm 1.
    """
    towers = load_towers(path)
    return DualCheckpoint(
        ImageEncoder.from_towers(towers, image_size),
        TextEncoder.from_towers(towers, sequence_length),
        towers.logit_scale,
        towers.logit_bias,
    )


def load_dual_preset(
    handle: str,
    image_size: int | tuple[int, int] | None = None,
    sequence_length: int | None = None,
) -> DualCheckpoint:
    """Loads a CLIP, MetaCLIP 2 or SigLIP preset of KerasHub.

    CLIP's tokenizer is exchanged for `ClipTokenizer`, and SigLIP's for
    `SiglipTokenizer`, which give the ids that the models were trained with.

    Args:
        handle: A preset name, `kaggle://...`, or a local preset directory.
        image_size: As in `ImageEncoder.from_backbone`.
        sequence_length: As in `TextEncoder.from_backbone`.

    Returns:
        As `load_dual_checkpoint`.

    Raises:
        ValueError: If there is no such preset, or it is no dual encoder.
    """
    backbone, normalisation = load_image_backbone(handle, load_weights=True)
    head = next((getattr(backbone, n) for n in _HEADS if hasattr(backbone, n)), None)
    if head is None:
        raise ValueError(
            "`handle` must lead to a CLIP, MetaCLIP 2 or SigLIP. Received: "
            f"{handle!r}, a {type(backbone).__name__}. Load its encoder by "
            "`from_preset`"
        )
    tokenizer = load_or_explain(
        lambda: keras_hub.tokenizers.Tokenizer.from_preset(handle),
        handle,
        "a tokenizer",
    )
    text, projection = text_tower(backbone)
    if isinstance(text, keras_hub.models.CLIPTextEncoder):
        text = ClipTextBackbone.from_backbone(text)
    bias = getattr(head, "logit_bias", None)
    return DualCheckpoint(
        ImageEncoder.from_backbone(backbone, image_size, **normalisation),
        TextEncoder.from_backbone(
            text, _exact(tokenizer), sequence_length, projection=projection
        ),
        float(np.exp(head.logit_scale.numpy())),
        None if bias is None else float(bias.numpy()),
    )


def _exact(tokenizer: keras.layers.Layer) -> keras.layers.Layer:
    if isinstance(tokenizer, keras_hub.tokenizers.CLIPTokenizer):
        merges = [m for m in tokenizer.merges if not m.startswith("#version")]
        vocabulary = dict(tokenizer.vocabulary)
        return ClipTokenizer(vocabulary, merges, tokenizer.pad_token_id)
    if isinstance(tokenizer, keras_hub.tokenizers.SigLIPTokenizer):
        return SiglipTokenizer(tokenizer.proto)
    if isinstance(tokenizer, keras_hub.tokenizers.GemmaTokenizer):  # SigLIP 2
        return SiglipTokenizer(tokenizer.proto, "<eos>", "<pad>", "lower")
    return tokenizer
