"""Random changes to images that are a pure function of the image and a seed."""

import dataclasses
import math

import tensorflow as tf

from kmmft.data.random_crop import decode_random_crop

# Rec. 601: what the eye sees of red, green and blue.
_GREY_WEIGHTS = (0.299, 0.587, 0.114)


@dataclasses.dataclass(frozen=True)
class ImageAugmentation:
    """Flips, crops, turns and recolours one image.

    The defaults suit photographs. Turn off what changes the meaning of an image:
    flips where left and right or text matter, hue where colours are asked for. Where
    the cores are too slow for it and the model has a device of its own, put Keras'
    layers (`keras.layers.RandomFlip(seed=0)`, `keras.layers.RandAugment`, ...) into the
    model, behind its image input: they are off in evaluation and in exports, and a
    resumed run goes on with their draws. In `batch_preprocess` it would not. The
    steps come in this order: crop, flips, turn, brightness, contrast, saturation,
    hue. Values stay in [0, 255].

    Args:
        crop_area: Smallest and largest part of the image's area that is cut out and
            scaled to the full size (zoom and translation). `(1.0, 1.0)` turns it off.
        crop_aspect_ratio: Smallest and largest width / height of the cut, relative
            to the image's own.
        horizontal_flip: Whether to mirror left and right, with probability 1/2.
        vertical_flip: Whether to mirror top and bottom, with probability 1/2.
        quarter_turns: Whether to turn by 0, 90, 180 or 270 degrees. Square images
            only.
        brightness: Largest change, as a fraction of 255.
        contrast: Largest change of the contrast factor around 1.
        saturation: Largest change of the saturation factor around 1.
        hue: Largest change of the hue, at most 0.5 (half the colour circle).

    Call arguments:
        image: float tensor `(height, width, 3)` in [0, 255], of static shape.
        seed: int tensor `(2,)`.

    Returns:
        float32 tensor of the same shape.

    Raises:
        ValueError: If a range is not valid, or a turned image is not square.

    Example:
        >>> augmentation = kmmft.data.ImageAugmentation(crop_area=(0.5, 1.0))
        >>> augmentation(tf.zeros((32, 32, 3)), seed=(0, 7)).shape
        TensorShape([32, 32, 3])

    References:
        - [Szegedy et al., 2014](https://arxiv.org/abs/1409.4842), section 6 (crops).
    """

    crop_area: tuple[float, float] = (0.8, 1.0)
    crop_aspect_ratio: tuple[float, float] = (0.9, 1.1)
    horizontal_flip: bool = True
    vertical_flip: bool = False
    quarter_turns: bool = False
    brightness: float = 0.1
    contrast: float = 0.1
    saturation: float = 0.1
    hue: float = 0.0

    def __post_init__(self):
        low, high = self.crop_area
        if not 0 < low <= high <= 1:
            self._refuse("crop_area", "go from above 0 to at most 1")
        low, high = self.crop_aspect_ratio
        if not 0 < low <= high:
            self._refuse("crop_aspect_ratio", "be positive, smallest first")
        for name, largest in (
            ("brightness", 1.0),
            ("contrast", 1.0),
            ("saturation", 1.0),
            ("hue", 0.5),
        ):
            if not 0 <= getattr(self, name) <= largest:
                self._refuse(name, f"be between 0 and {largest}")

    def __call__(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        draws = self._draws(seed)
        image = tf.cast(image, tf.float32)
        if self.crop_area != (1.0, 1.0) or self.crop_aspect_ratio != (1.0, 1.0):
            image = self._crop(image, draws[:4])
        return self._change(image, draws)

    def decode(
        self, encoded: tf.Tensor, image_size: int | tuple[int, int], seed: tf.Tensor
    ) -> tf.Tensor:
        """Decodes, crops, scales and augments an image, twice as fast or more.

        Use it in `augment` of `build_dataset`, with a `preprocess` that leaves the
        image encoded. Crops are taken as `decode_random_crop` does: of the whole
        image, in the shape of `image_size` rather than of the image.

        Args:
            encoded: scalar string tensor, the bytes of the file.
            image_size: Height and width, or one number for both.
            seed: int tensor `(2,)`.

        Returns:
            float32 tensor `(height, width, 3)` in [0, 255].

        Example:
            >>> jpeg = tf.io.encode_jpeg(tf.zeros((40, 60, 3), tf.uint8))
            >>> kmmft.data.ImageAugmentation().decode(jpeg, 32, seed=(0, 7)).shape
            TensorShape([32, 32, 3])
        """
        draws = self._draws(seed)
        image = decode_random_crop(
            encoded,
            image_size,
            tf.stack(draws[:4]),
            self.crop_area,
            self.crop_aspect_ratio,
        )
        return self._change(image, draws)

    def _draws(self, seed: tf.Tensor) -> list[tf.Tensor]:
        # All random numbers at once: many small operations cost more than the pixels.
        return tf.unstack(tf.random.stateless_uniform((11,), seed))

    def _change(self, image: tf.Tensor, draws: list[tf.Tensor]) -> tf.Tensor:
        if self.horizontal_flip:
            image = _flip(image, 1, draws[4])
        if self.vertical_flip:
            image = _flip(image, 0, draws[5])
        if self.quarter_turns:
            image = self._turn(image, draws[6])
        return self._recolour(image, draws[7:])

    def _crop(self, image: tf.Tensor, draws: list[tf.Tensor]) -> tf.Tensor:
        height, width = image.shape[:2]
        low, high = self.crop_area
        area = low + draws[0] * (high - low)
        low, high = (math.log(limit) for limit in self.crop_aspect_ratio)
        root_ratio = tf.exp((low + draws[1] * (high - low)) / 2)
        # Parts of height and width; a cut cannot be larger than the image.
        parts = tf.minimum(tf.sqrt(area) * tf.stack([1 / root_ratio, root_ratio]), 1.0)
        corner = tf.stack(draws[2:]) * (1 - parts)
        # The cut is only enlarged, so it needs no antialiasing, and this is the
        # fastest operation that interpolates.
        return tf.image.crop_and_resize(
            image[tf.newaxis],
            boxes=tf.concat([corner, corner + parts], 0)[tf.newaxis],
            box_indices=[0],
            crop_size=(height, width),
        )[0]

    def _turn(self, image: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
        shape = image.shape
        if shape[0] != shape[1]:
            raise ValueError(
                "Quarter turns need square images, or the shape would change. "
                f"Received: shape {tuple(shape)}. Set quarter_turns=False."
            )
        turns = tf.cast(4 * draw, tf.int32)
        return tf.ensure_shape(tf.image.rot90(image, turns), shape)

    def _recolour(self, image: tf.Tensor, draws: list[tf.Tensor]) -> tf.Tensor:
        """One linear map of each pixel, since each pass over an image costs time."""

        def change(largest: float, draw: tf.Tensor) -> tf.Tensor:
            return largest * (2 * draw - 1)

        if self.brightness or self.contrast or self.saturation:
            pixels = tf.reshape(image, (-1, 3))
            shift = 255 * change(self.brightness, draws[0])
            contrast = 1 + change(self.contrast, draws[1])
            saturation = 1 + change(self.saturation, draws[2])
            # Contrast is around the mean grey, saturation around each pixel's grey.
            to_grey = tf.constant(_GREY_WEIGHTS)[:, tf.newaxis]
            # First over rows, which are far longer than the pixels in them.
            means = tf.reshape(tf.reduce_mean(image, axis=0), (-1, 3))
            mean = tf.reduce_mean(means, axis=0)[tf.newaxis] @ to_grey + shift
            mix = contrast * (saturation * tf.eye(3) + (1 - saturation) * to_grey)
            constant = contrast * shift + (1 - contrast) * mean[0, 0]
            image = tf.reshape(pixels @ mix + constant, image.shape)
            image = tf.clip_by_value(image, 0.0, 255.0)
            if not self.hue:
                return image
        if self.hue:
            image = tf.image.adjust_hue(image, change(self.hue, draws[3]))
        return tf.clip_by_value(image, 0.0, 255.0)

    def _refuse(self, name: str, rule: str) -> None:
        raise ValueError(
            f"`{name}` must {rule}. Received: {name}={getattr(self, name)}. Change it."
        )


def _flip(image: tf.Tensor, axis: int, draw: tf.Tensor) -> tf.Tensor:
    return tf.cond(draw < 0.5, lambda: tf.reverse(image, [axis]), lambda: image)
