"""The same image backbone for images of another size."""

import keras
import numpy as np
import tensorflow as tf


def resize_backbone(backbone: keras.Model, image_size: tuple[int, int]) -> keras.Model:
    """Rebuilds `backbone` for another image size, with its weights.

    Weights that do not depend on the size are copied. Learnt position embeddings are
    resized as the image that they are, bicubically; those of class and register
    tokens are kept.

    Args:
        backbone: A KerasHub image backbone that was built for one size.
        image_size: (height, width), multiples of the patch size.

    Returns:
        A new backbone; `backbone` is unchanged.

    Example:
        >>> import keras_hub
        >>> vit = keras_hub.models.ViTBackbone((32, 32, 3), 16, 1, 2, 8, 16)
        >>> larger = kmmft.encoders.resize_backbone(vit, (48, 64))
        >>> vit.output.shape, larger.output.shape
        ((None, 5, 8), (None, 13, 8))

    References:
        - [Dosovitskiy et al., 2020](https://arxiv.org/abs/2010.11929), sec. 3.2.
    """
    config = backbone.get_config()
    key = "input_shape" if "input_shape" in config else "image_shape"
    resized = type(backbone).from_config({**config, key: (*image_size, 3)})
    old_size = backbone.inputs[0].shape[1:3]
    for old, new in zip(backbone.weights, resized.weights, strict=True):
        if old.shape == new.shape:
            new.assign(old)
        elif not np.issubdtype(keras.ops.convert_to_numpy(old).dtype, np.integer):
            patch = backbone.patch_size
            new.assign(_resize_positions(old, new.shape, old_size, image_size, patch))
        # What is left counts positions, and was counted when it was made.
    return resized


def _resize_positions(old, shape, old_size, new_size, patch):
    values = keras.ops.convert_to_numpy(old)
    if len(shape) == 4:  # ViTDet keeps a grid
        return tf.image.resize(values, shape[1:3], method="bicubic")
    if "rel_pos" in old.path:  # ViTDet keeps one row for each distance
        line = tf.image.resize(values[None, :, None], (shape[0], 1))
        return tf.squeeze(line, (0, 2))
    rows = values.reshape(-1, shape[-1])
    patch = patch if isinstance(patch, list | tuple) else (patch, patch)
    old_grid = [size // step for size, step in zip(old_size, patch, strict=True)]
    new_grid = [size // step for size, step in zip(new_size, patch, strict=True)]
    # The first rows belong to class and distillation tokens.
    prefix = rows.shape[0] - np.prod(old_grid)
    grid = rows[prefix:].reshape(1, *old_grid, -1)
    grid = tf.image.resize(grid, new_grid, method="bicubic").numpy()
    rows = np.concatenate([rows[:prefix], grid.reshape(-1, shape[-1])])
    return rows.reshape(shape)
