"""Patch dropout inside a pretrained vision transformer."""

import keras
import keras_hub

from kmmft.encoders.families import image_family
from kmmft.layers import PatchDropout

_models = keras_hub.models
# Their positions are added to the patches at once, so that a patch left out
# afterwards moves no other. DINOv3 turns its attention by places in the full image.
WITH_PATCH_TOKENS = (
    _models.CLIPVisionEncoder,
    _models.DeiTBackbone,
    _models.DINOV2Backbone,
    _models.MetaCLIP2VisionEncoder,
    _models.SigLIPVisionEncoder,
    _models.ViTBackbone,
)


def with_patch_dropout(
    backbone: keras.Model, rate: float, outputs: keras.KerasTensor | dict | None = None
) -> keras.Model:
    """A twin of a vision transformer that leaves out patches in training.

    The twin shares the backbone's layers and weights; in use it computes the same.

    Args:
        backbone: A KerasHub `ViTBackbone`, `DeiTBackbone`, `DINOV2Backbone`,
            `CLIPVisionEncoder`, `MetaCLIP2VisionEncoder` or `SigLIPVisionEncoder`.
        rate: Share of patches to leave out; see `kmmft.layers.PatchDropout`.
        outputs: Tensors of the backbone's graph that the twin is to return;
            default: the backbone's outputs.

    Returns:
        A functional `keras.Model`.

    Raises:
        ValueError: If `backbone` is no such transformer.

    Example:
        >>> backbone = keras_hub.models.ViTBackbone((32, 32, 3), 8, 1, 2, 8, 16)
        >>> twin = kmmft.encoders.with_patch_dropout(backbone, rate=0.5)
        >>> images = np.ones((1, 32, 32, 3))
        >>> twin(images, training=True).shape, twin(images).shape
        (TensorShape([1, 9, 8]), TensorShape([1, 17, 8]))
    """
    if not isinstance(backbone, WITH_PATCH_TOKENS):
        names = ", ".join(known.__name__ for known in WITH_PATCH_TOKENS)
        raise ValueError(
            f"Patch dropout needs one of {names}. Received: a "
            f"{type(backbone).__name__}, which has no patch tokens that could be "
            "left out. Set its rate to 0"
        )
    prefix = image_family(backbone).prefix_tokens(backbone)
    dropout = PatchDropout(rate, prefix, dtype=backbone.dtype_policy)
    embedding = next(layer for layer in backbone.layers if _makes_tokens(layer))

    def call(layer, *args, **kwargs):
        tokens = layer(*args, **kwargs)
        return dropout(tokens) if layer is embedding else tokens

    return keras.models.clone_model(
        keras.Model(backbone.input, backbone.output if outputs is None else outputs),
        clone_function=lambda layer: layer,
        call_function=call,
    )


def _makes_tokens(layer: keras.layers.Layer) -> bool:
    return isinstance(layer.output, keras.KerasTensor) and len(layer.output.shape) == 3
