"""The same image backbone for images of another size."""

import keras
import numpy as np
import tensorflow as tf

from kmmft.encoders.qformer_encoder import QFormerEncoder


def resize_backbone(
    backbone: keras.Model, image_size: tuple[int, int], antialias: bool = False
) -> keras.Model:
    """Rebuilds `backbone` for another image size, with its weights.

    Weights that do not depend on the size are copied. Learnt position embeddings are
    resized as the image that they are, bicubically; those of class and register
    tokens are kept. What is frozen stays frozen.

    Args:
        backbone: A KerasHub image backbone that was built for one size.
        image_size: (height, width), multiples of the patch size.
        antialias: False resizes as `transformers` does with
            `interpolate_pos_encoding`, PyTorch's bicubic interpolation. True resizes
            as open_clip does, with antialiasing and Keys' own coefficient.

    Returns:
        A new backbone; `backbone` is unchanged.

    Raises:
        ValueError: If the images of a PaliGemma or a Gemma 3 would not be square, or
            they or a BLIP-2's not in whole tokens.

    Example:
        >>> import keras_hub
        >>> vit = keras_hub.models.ViTBackbone((32, 32, 3), 16, 1, 2, 8, 16)
        >>> larger = kmmft.encoders.resize_backbone(vit, (48, 64))
        >>> vit.output.shape, larger.output.shape
        ((None, 5, 8), (None, 13, 8))

    References:
        - [Keys, 1981](https://doi.org/10.1109/TASSP.1981.1163711), eq. 8.
        - [Dosovitskiy et al., 2020](https://arxiv.org/abs/2010.11929), sec. 3.2.
    """
    config = backbone.get_config()
    if isinstance(backbone, QFormerEncoder):
        vision = resize_backbone(backbone.vision_encoder, image_size, antialias)
        return QFormerEncoder(vision, backbone.qformer, backbone.projection)
    resized = type(backbone).from_config({**config, **_size(config, image_size)})
    old_size = backbone.inputs[0].shape[-3:-1]
    for old, new in zip(backbone.weights, resized.weights, strict=True):
        if old.shape == new.shape:
            new.assign(old)
        elif np.issubdtype(keras.ops.convert_to_numpy(old).dtype, np.integer):
            # It counts positions. KerasHub's new CLIPs do not count: all are zero.
            new.assign(np.arange(np.prod(new.shape)).reshape(new.shape))
        else:
            grids = _grids(backbone.patch_size, old_size, image_size)
            new.assign(_resize_positions(old, new.shape, *grids, antialias))
    # From the outside in: a layer passes its own on to those in it.
    layers = (model._flatten_layers() for model in (backbone, resized))
    for old, new in zip(*layers, strict=True):
        new.trainable = old.trainable
    return resized


def checked_image_size(
    backbone: keras.Model, image_size: int | tuple[int, int] | None
) -> tuple[int, int]:
    """(height, width) of the images that a backbone takes; 224 where any size goes.

    Raises:
        ValueError: If it takes no images of `image_size`.
    """
    own = tuple(backbone.inputs[0].shape[-3:-1])
    if image_size is None:
        return tuple(size or 224 for size in own)
    if isinstance(image_size, int):
        image_size = (image_size, image_size)
    image_size = tuple(image_size)
    if any(mine not in (None, new) for mine, new in zip(own, image_size, strict=True)):
        raise ValueError(
            f"`image_size` must be the backbone's {own}. Received: {image_size}. "
            f"Use `ImageEncoder.from_backbone(backbone, image_size={image_size})`"
        )
    return image_size


def _size(config: dict, image_size: tuple[int, int]) -> dict:
    """The entry of a backbone's config that says how large its images are."""
    if "image_size" not in config:
        key = "input_shape" if "input_shape" in config else "image_shape"
        return {key: (*image_size, 3)}
    if not isinstance(config["image_size"], int):  # BLIP-2's
        if any(
            side % patch
            for side, patch in zip(image_size, config["patch_size"], strict=True)
        ):
            raise ValueError(
                f"`image_size` must be in whole patches of {config['patch_size']}. "
                f"Received: {image_size}."
            )
        return {"image_size": image_size}
    # PaliGemma's, or Gemma 3's, which makes a token of several patches.
    side, patch = image_size[0], config["patch_size"] * config.get("pool_size", 1)
    if set(image_size) != {side} or side % patch:
        raise ValueError(
            f"`image_size` must be square, and a multiple of {patch}, for this "
            f"backbone. Received: {image_size}."
        )
    return {"image_size": side}


def _grids(patch, *sizes) -> list[list[int]]:
    patch = patch if isinstance(patch, list | tuple) else (patch, patch)
    return [[size // p for size, p in zip(s, patch, strict=True)] for s in sizes]


def _resize_positions(old, shape, old_grid, new_grid, antialias):
    values = keras.ops.convert_to_numpy(old)
    if len(shape) == 4:  # ViTDet keeps a grid
        return _resize_grid(values, shape[1:3], antialias)
    if "rel_pos" in old.path:  # ViTDet keeps one row for each distance
        line = tf.image.resize(values[None, :, None], (shape[0], 1))
        return tf.squeeze(line, (0, 2))
    rows = values.reshape(-1, shape[-1])
    # The first rows belong to class and distillation tokens.
    prefix = rows.shape[0] - np.prod(old_grid)
    grid = rows[prefix:].reshape(1, *old_grid, -1)
    grid = _resize_grid(grid, new_grid, antialias)
    rows = np.concatenate([rows[:prefix], grid.reshape(-1, shape[-1])])
    return rows.reshape(shape)


def _resize_grid(grid: np.ndarray, size: list[int], antialias: bool) -> np.ndarray:
    if antialias:
        return tf.image.resize(grid, size, method="bicubic", antialias=True).numpy()
    height, width = (
        _cubic(old, new) for old, new in zip(grid.shape[1:3], size, strict=True)
    )
    return np.einsum("yi,xj,bijd->byxd", height, width, grid)


def _cubic(old: int, new: int) -> np.ndarray:
    """PyTorch's interpolation of one axis, as a matrix `(new, old)`."""
    a = -0.75  # Keys has -0.5, and TensorFlow too
    places = (np.arange(new) + 0.5) * old / new - 0.5
    taps = np.floor(places)[:, None] + np.arange(-1, 3)
    x = np.abs(places[:, None] - taps)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * (x**3 - 5 * x**2 + 8 * x - 4)
    matrix = np.zeros((new, old))
    columns = np.clip(taps, 0, old - 1).astype(int)
    np.add.at(matrix, (np.arange(new)[:, None], columns), np.where(x <= 1, near, far))
    return matrix
