"""The convolutions of an image tokenizer and of its discriminator."""

from collections.abc import Sequence

import keras
from keras import ops

Tensor = keras.KerasTensor


def encode_blocks(x: Tensor, widths: Sequence[int], blocks: int) -> Tensor:
    """Halves height and width once for each of the widths."""
    for level, width in enumerate(widths):
        if level:
            x = _activated(x, f"encoder_{level}")
        size = 4 if level == 0 else 3
        x = _conv(width, size, strides=2, name=f"down_{level}")(x)
        for index in range(blocks):
            x = _residual(x, width, f"encoder_{level}_{index}")
    return _activated(x, "encoder_end")


def decode_blocks(x: Tensor, widths: Sequence[int], blocks: int) -> Tensor:
    """Doubles height and width once for each of the widths, the last one first."""
    for level, width in reversed(list(enumerate(widths))):
        x = _conv(width, 3, name=f"into_{level}")(x)
        for index in range(blocks):
            x = _residual(x, width, f"decoder_{level}_{index}")
        # The same as behind the next layer, for a quarter of the work.
        x = _activated(x, f"decoder_{level}")
        x = keras.layers.UpSampling2D(name=f"up_{level}")(x)
    x = _conv(widths[0], 3, name="decoder_smooth")(x)
    return _activated(x, "decoder_end")


def patch_discriminator(
    image_size: tuple[int, int], widths: Sequence[int]
) -> keras.Model:
    """Says for each patch of an image whether it is real.

    Args:
        image_size: Height and width.
        widths: Channels of the convolutions, each of which halves the size.

    Returns:
        Model from images in [-1, 1] to float32 logits `(batch, rows, columns)`.

    References:
        - [Isola et al., 2017](https://arxiv.org/abs/1611.07004), 3.2.2.
    """
    image = keras.Input((*image_size, 3), name="image")
    x = image
    for level, width in enumerate(widths):
        x = _conv(width, 4, strides=2, name=f"conv_{level}")(x)
        if level:
            x = keras.layers.LayerNormalization(name=f"norm_{level}")(x)
        x = keras.layers.LeakyReLU(0.2, name=f"leaky_{level}")(x)
    logits = _conv(1, 3, name="logits", dtype="float32")(x)
    return keras.Model(image, ops.squeeze(logits, -1), name="discriminator")


def _residual(x: Tensor, width: int, name: str) -> Tensor:
    y = _activated(x, f"{name}_in")
    y = _conv(width, 3, name=f"{name}_conv_in")(y)
    y = _activated(y, f"{name}_out")
    y = _conv(width, 3, name=f"{name}_conv_out")(y)
    return keras.layers.Add(name=name)([x, y])


def _activated(x: Tensor, name: str) -> Tensor:
    x = keras.layers.LayerNormalization(name=f"{name}_norm")(x)
    return keras.layers.Activation("silu", name=f"{name}_silu")(x)


def _conv(width: int, size: int, **kwargs) -> keras.layers.Layer:
    return keras.layers.Conv2D(width, size, padding="same", **kwargs)
