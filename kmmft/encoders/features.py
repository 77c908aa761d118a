"""Reads token sequences and pooled vectors out of backbones of every shape."""

import keras
import keras_hub
import numpy as np
from keras import ops

from kmmft.encoders.families import ImageFamily, TextFamily
from kmmft.encoders.patch_dropout import with_patch_dropout
from kmmft.encoders.text_packing import packed_tokens
from kmmft.layers import Pooling
from kmmft.layers.pooling import MODES as POOLING_MODES


def image_features(
    backbone: keras.Model,
    family: ImageFamily,
    image: keras.KerasTensor,
    patch_dropout_rate: float = 0.0,
) -> tuple[keras.KerasTensor | None, keras.KerasTensor | None]:
    """Calls an image backbone.

    Returns:
        Tokens `(batch, num_tokens, dim)` and pooled vector `(batch, dim)`; `None`
        where the backbone has no such thing.
    """
    _count_positions(backbone)
    inputs = backbone.input
    if len(backbone.inputs[0].shape) == 5:  # Gemma 3's: several images
        image = ops.expand_dims(image, 1)
    if isinstance(inputs, dict):
        image = {next(iter(inputs)): image}
    model = _with_tokens(backbone, family)
    if patch_dropout_rate:
        model = with_patch_dropout(backbone, patch_dropout_rate, model.output)
    tokens, pooled = _tokens_and_pooled(backbone, model(image))
    if tokens is not None and len(tokens.shape) == 4:
        _, height, width, dim = tokens.shape
        tokens = ops.reshape(tokens, (-1, height * width, dim))
    siglip = isinstance(backbone, keras_hub.models.SigLIPVisionEncoder)
    if siglip and not patch_dropout_rate:
        # KerasHub 0.32 announces one token more than there are.
        count = backbone.embedding.num_positions
        tokens = ops.reshape(tokens, (-1, count, tokens.shape[-1]))
    return tokens, pooled


def text_features(
    backbone: keras.Model,
    family: TextFamily,
    token_ids: keras.KerasTensor,
    padding_mask: keras.KerasTensor,
    pad_token_id: int,
    packed_length: int | None = None,
    segment_ids: keras.KerasTensor | None = None,
) -> tuple[keras.KerasTensor | None, keras.KerasTensor | None]:
    """Calls a text backbone, on several texts a row if `packed_length` is given.

    Without `segment_ids` all tokens are of the first text.

    Returns:
        As `image_features`.
    """
    if packed_length is not None:
        if segment_ids is not None:
            raise ValueError(
                "Pairs of texts cannot be packed. Received: "
                f"packed_length={packed_length}. Leave it out."
            )
        tokens = packed_tokens(
            backbone, token_ids, padding_mask, packed_length, pad_token_id
        )
        return tokens, None
    names = backbone.input.keys()
    inputs = {"token_ids": token_ids}
    if "padding_mask" in names:
        inputs["padding_mask"] = family.mask(ops.cast(padding_mask, "int32"))
    else:
        # These backbones find the padding by its id, or do not mask at all.
        pad_token_id = getattr(backbone, "pad_token_id", pad_token_id)
        inputs["token_ids"] = ops.where(padding_mask, token_ids, pad_token_id)
    if "segment_ids" in names:
        zeros = ops.zeros_like(token_ids)
        inputs["segment_ids"] = zeros if segment_ids is None else segment_ids
    return _tokens_and_pooled(backbone, _with_tokens(backbone, family)(inputs))


def pooled_tokens(
    tokens: keras.KerasTensor, mask: keras.KerasTensor | None, pooling: str
) -> keras.KerasTensor:
    """Pools by a rule of `kmmft.layers.Pooling`.

    Raises:
        ValueError: If there is no such rule.
    """
    if pooling not in POOLING_MODES:
        raise ValueError(
            f"`pooling` must be one of {POOLING_MODES}, 'pooler', or None for the "
            f"family's own. Received: pooling={pooling!r}"
        )
    return Pooling(pooling)(tokens, mask=mask)


def normalised(
    image: keras.KerasTensor,
    mean: float | tuple[float, ...],
    std: float | tuple[float, ...],
) -> keras.KerasTensor:
    """Subtracts the mean and divides by the standard deviation, per channel."""
    channels = 3
    mean = list(mean) if isinstance(mean, list | tuple) else [mean] * channels
    std = list(std) if isinstance(std, list | tuple) else [std] * channels
    # float32 even under a half precision policy: pixels need their eight bits.
    return keras.layers.Rescaling(
        scale=[1.0 / s for s in std],
        offset=[-m / s for m, s in zip(mean, std, strict=True)],
        dtype="float32",
        name="normalisation",
    )(image)


def pooled_image(
    tokens: keras.KerasTensor | None,
    pooled: keras.KerasTensor | None,
    pooling: str,
    prefix: int,
) -> keras.KerasTensor:
    """Pools an image's tokens, of which the first `prefix` are no places.

    Raises:
        ValueError: If the backbone has not what `pooling` needs.
    """
    if pooling == "pooler":
        if pooled is None:
            raise ValueError(
                '`pooling="pooler"` needs a backbone with a pooled output. '
                'Received: a backbone without one. Use "mean", "max" or "cls"'
            )
        return pooled
    if tokens is None or (pooling == "cls" and not prefix):
        raise ValueError(
            f"`pooling={pooling!r}` needs a backbone with "
            f"{'tokens' if tokens is None else 'a class token'}. Received: a backbone "
            "without. Use pooling=None for the backbone's own"
        )
    if pooling != "cls":
        tokens = tokens[:, prefix:]
    return pooled_tokens(tokens, None, pooling)


def _count_positions(backbone: keras.Model) -> None:
    """KerasHub 0.32 puts all patches of a new CLIP in the same place, number 0."""
    positions = getattr(getattr(backbone, "embedding", None), "position_ids", None)
    if positions is not None and not np.any(ops.convert_to_numpy(positions)):
        positions.assign(np.arange(positions.shape[1])[None])


def _with_tokens(
    backbone: keras.Model, family: ImageFamily | TextFamily
) -> keras.Model:
    """The backbone, or its twin that also returns the tokens before its pooler."""
    if family.tokens_layer is None:
        return backbone
    return keras.Model(
        backbone.input,
        {
            "sequence_output": getattr(backbone, family.tokens_layer).output,
            "pooled_output": backbone.output,
        },
        name=f"{backbone.name}_with_tokens",
    )


def _tokens_and_pooled(backbone, outputs):
    if isinstance(outputs, dict):
        if "sequence_output" not in outputs:
            # HGNetV2: one feature map for each stage, the deepest one is wanted.
            last = max(outputs, key=backbone.stage_names.index)
            outputs = {"sequence_output": outputs[last]}
        return outputs["sequence_output"], outputs.get("pooled_output")
    if len(outputs.shape) == 2:
        return None, outputs
    return outputs, None
