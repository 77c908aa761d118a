"""Pictures as a few ids of codes, and back."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kmmft.data import decode_image, decode_images
from kmmft.layers import Codebook, UnitLength
from kmmft.models.image_tokenizer_blocks import (
    decode_blocks,
    encode_blocks,
    patch_discriminator,
)
from kmmft.models.image_tokenizer_training import ImageTokenizerTraining


@keras.saving.register_keras_serializable("kmmft")
class ImageTokenizer(ImageTokenizerTraining, keras.Model):
    """Turns an image into a grid of codes and draws it again from these: a VQ-GAN.

    A functional Keras model with a convolutional encoder, a `kmmft.layers.Codebook`
    and a decoder. `fit` takes batches of images, or dicts with `image`; see
    `ImageTokenizerTraining` for its losses. Vectors and codes have length one: vectors
    that may shrink leave most codes unused. Layers that stand between have LayerNorm
    over the channels of a place, so nothing depends on the other images of a batch;
    GroupNorm over whole images takes a plain picture's colours away.

    Args:
        image_size: Height and width, or one number for both. Each must divide by 2 to
            the power of `len(widths)`.
        num_codes: Number of codes.
        code_dim: Width of a code. Small ones leave no code unused.
        widths: Channels after each halving of height and width.
        blocks: Residual blocks at each size.
        discriminator_widths: Channels of the patch discriminator.

    Call arguments:
        image: float tensor `(batch, height, width, 3)` in [0, 255].

    Returns:
        dict of `image` float32 `(batch, height, width, 3)`, about [0, 255];
        `token_ids` int32 `(batch, rows * columns)`, row by row; and `vectors` float
        `(batch, rows, columns, code_dim)`, what the codes stand for.

    Raises:
        ValueError: If the size does not divide.

    Example:
        >>> tokenizer = kmmft.models.ImageTokenizer(
        ...     32, num_codes=16, code_dim=4, widths=(8, 8), blocks=0
        ... )
        >>> ids = tokenizer.encode(np.zeros((2, 32, 32, 3)))
        >>> ids.shape, tokenizer.decode(ids).shape
        ((2, 64), (2, 32, 32, 3))

    References:
        - [Esser et al., 2021](https://arxiv.org/abs/2012.09841), 3.1.
        - [Yu et al., 2022](https://arxiv.org/abs/2110.04627), 3.2 (narrow codes of
          unit length).
    """

    def __init__(
        self,
        image_size: int | tuple[int, int],
        num_codes: int = 256,
        code_dim: int = 16,
        widths: Sequence[int] = (32, 64, 128),
        blocks: int = 1,
        discriminator_widths: Sequence[int] = (32, 64),
        name: str = "image_tokenizer",
        **kwargs,
    ):
        size = (image_size,) * 2 if isinstance(image_size, int) else tuple(image_size)
        _check(size, widths)
        # === Functional model ===
        image = keras.Input((*size, 3), name="image")
        scaled = keras.layers.Rescaling(1 / 127.5, offset=-1, name="scaled")(image)
        x = encode_blocks(scaled, widths, blocks)
        x = keras.layers.Dense(code_dim, name="to_codes")(x)
        vectors = UnitLength(name="unit_length")(x)
        codebook = Codebook(num_codes, unit_length=True, name="codebook")
        codes = codebook(vectors)
        drawing = _decoder(vectors.shape[1:], widths, blocks)
        grid = vectors.shape[1:3]
        outputs = {
            "image": drawing(codes["vectors"]),
            "token_ids": ops.reshape(codes["ids"], (-1, grid[0] * grid[1])),
            "vectors": vectors,
        }
        super().__init__(inputs=image, outputs=outputs, name=name, **kwargs)
        # === Layers ===
        self.codebook = codebook
        self.drawing = drawing
        self.discriminator = patch_discriminator(size, discriminator_widths)
        self.make_trackers()
        # === Config ===
        self.image_size = size
        self.grid = grid
        self.num_codes = num_codes
        self.code_dim = code_dim
        self.widths = tuple(widths)
        self.blocks = blocks
        self.discriminator_widths = tuple(discriminator_widths)

    def preprocess(self, encoded: tf.Tensor) -> tf.Tensor:
        """Decodes images to the size of the tokenizer, in graph.

        Args:
            encoded: string tensor, a scalar or `(batch,)`.

        Returns:
            float32 tensor `(..., height, width, 3)` in [0, 255].
        """
        decode = decode_images if encoded.shape.rank else decode_image
        return decode(encoded, self.image_size)

    def codes_of(self, image) -> tf.Tensor:
        """As `encode`, with tensors and in graph.

        Args:
            image: float tensor `(batch, height, width, 3)` in [0, 255].

        Returns:
            int32 tensor `(batch, rows * columns)`, without a gradient.
        """
        return ops.stop_gradient(self(image, training=False)["token_ids"])

    def draw(self, token_ids) -> tf.Tensor:
        """As `decode`, with tensors and in graph.

        Args:
            token_ids: int tensor `(batch, rows * columns)`.

        Returns:
            float32 tensor `(batch, height, width, 3)` in [0, 255].
        """
        codes = self.codebook.lookup(ops.reshape(token_ids, (-1, *self.grid)))
        codes = ops.cast(codes, self.compute_dtype)
        return ops.clip(self.drawing(codes, training=False), 0.0, 255.0)

    def encode(self, images: np.ndarray, batch_size: int = 64) -> np.ndarray:
        """Codes of images.

        Args:
            images: `(images, height, width, 3)` in [0, 255].
            batch_size: How many are encoded at a time.

        Returns:
            int32 array `(images, rows * columns)`.
        """
        return _in_batches(self.codes_of, images, batch_size)

    def decode(self, token_ids: np.ndarray, batch_size: int = 64) -> np.ndarray:
        """Images of codes.

        Args:
            token_ids: `(images, rows * columns)`.
            batch_size: How many are drawn at a time.

        Returns:
            uint8 array `(images, height, width, 3)`.
        """
        images = _in_batches(self.draw, token_ids, batch_size)
        return np.round(images).astype(np.uint8)

    # === Config ===
    def get_config(self) -> dict:
        return {
            "name": self.name,
            "trainable": self.trainable,
            "image_size": self.image_size,
            "num_codes": self.num_codes,
            "code_dim": self.code_dim,
            "widths": self.widths,
            "blocks": self.blocks,
            "discriminator_widths": self.discriminator_widths,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        return cls(**{**config, "image_size": tuple(config["image_size"])})


def _decoder(shape, widths, blocks) -> keras.Model:
    codes = keras.Input(shape, name="codes")
    x = keras.layers.Dense(widths[-1], name="from_codes")(codes)
    x = decode_blocks(x, widths, blocks)
    pixels = keras.layers.Conv2D(3, 3, padding="same", dtype="float32", name="pixels")
    image = keras.layers.Rescaling(127.5, offset=127.5, dtype="float32")(pixels(x))
    return keras.Model(codes, image, name="drawing")


def _in_batches(function, rows: np.ndarray, batch_size: int) -> np.ndarray:
    parts = [
        ops.convert_to_numpy(function(tf.convert_to_tensor(rows[start:][:batch_size])))
        for start in range(0, len(rows), batch_size)
    ]
    return np.concatenate(parts)


def _check(size, widths) -> None:
    step = 2 ** len(widths)
    if not widths or any(side < step or side % step for side in size):
        raise ValueError(
            "Height and width must be multiples of 2 to the power of `len(widths)`, "
            f"one or more. Received: image_size={size}, widths={tuple(widths)}."
        )
