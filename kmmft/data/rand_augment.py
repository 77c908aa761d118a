"""RandAugment as a pure function of the image and a seed."""

import dataclasses
import functools
import math
from collections.abc import Callable

import tensorflow as tf

from kmmft.data import image_operations

INTERPOLATIONS = ("nearest", "bilinear")
# Magnitudes go from 0 to 30, as in torchvision.
_STEPS = 30
# Tells these draws from those of an `ImageAugmentation` with the same seed.
_SALT = 0x72616E64


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """Applies a few operations, drawn at random, all of one strength.

    The operations and their strengths are torchvision's: identity, shear, translation
    and rotation, brightness, colour, contrast and sharpness (up or down at random),
    posterize, solarize, autocontrast and equalize. Crops and flips are not among them:
    see `ImageAugmentation`, which goes before. Keras' layer of this name counts its
    draws, so that a resumed run would see other images; here they depend on `seed`.

    Leave it out where colours are asked for, or shape and place tell the classes.

    Args:
        num_ops: Number of operations, one after the other.
        magnitude: Strength, from 0 to 30.
        interpolation: `"nearest"` or `"bilinear"`, of the geometric operations.
        fill: Value in [0, 255] of what comes from outside the image.

    Call arguments:
        image: float tensor `(height, width, 3)` in [0, 255], of static shape.
        seed: int tensor `(2,)`.

    Returns:
        float32 tensor of the same shape, in [0, 255].

    Raises:
        ValueError: If an argument is not valid.

    Example:
        >>> augmentation = kmmft.data.RandAugment(num_ops=2, magnitude=9)
        >>> augmentation(tf.zeros((32, 32, 3)), seed=(0, 7)).shape
        TensorShape([32, 32, 3])

    References:
        - [Cubuk et al., 2019](https://arxiv.org/abs/1909.13719), section 3.
    """

    num_ops: int = 2
    magnitude: int = 9
    interpolation: str = "bilinear"
    fill: float = 0.0

    def __post_init__(self):
        if self.num_ops < 1:
            self._refuse("num_ops", "be at least 1")
        if not 0 <= self.magnitude <= _STEPS:
            self._refuse("magnitude", f"be from 0 to {_STEPS}")
        if self.interpolation not in INTERPOLATIONS:
            self._refuse("interpolation", f"be one of {INTERPOLATIONS}")
        if not 0 <= self.fill <= 255:
            self._refuse("fill", "be from 0 to 255")

    def __call__(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        image = tf.cast(image, tf.float32)
        salted = tf.random.experimental.stateless_fold_in(
            tf.convert_to_tensor(seed), _SALT
        )
        draws = tf.random.stateless_uniform((self.num_ops, 2), salted)
        operations = list(self.operations(image.shape).values())
        for draw in tf.unstack(draws):
            number = tf.cast(draw[0] * len(operations), tf.int32)
            sign = tf.where(draw[1] < 0.5, -1.0, 1.0)
            # Bound now: these functions are traced after the loop has moved on.
            branches = [
                functools.partial(operation, image, sign) for operation in operations
            ]
            image = tf.ensure_shape(tf.switch_case(number, branches), image.shape)
        return tf.clip_by_value(image, 0.0, 255.0)

    def operations(self, shape: tuple) -> dict[str, Callable]:
        """The operations, `(image, sign) -> image`, with this strength.

        Args:
            shape: Shape of the images.

        Returns:
            Functions by name; `sign` is 1.0 or -1.0, and some do not use it.
        """
        part = self.magnitude / _STEPS
        bits = 8 - round(4 * part)
        threshold = 255.0 * (1 - part)
        ops = image_operations
        shift_x, shift_y = (150 / 331 * part * shape[axis] for axis in (1, 0))

        def enhance(function):
            return lambda image, sign: function(image, 1 + 0.9 * part * sign)

        return {
            "identity": lambda image, sign: image,
            "shear_x": self._moved((1, 0.3 * part, 0), (0, 1, 0)),
            "shear_y": self._moved((1, 0, 0), (0.3 * part, 1, 0)),
            "translate_x": self._moved((1, 0, int(shift_x)), (0, 1, 0)),
            "translate_y": self._moved((1, 0, 0), (0, 1, int(shift_y))),
            "rotate": functools.partial(self._rotate, math.radians(30 * part)),
            "brightness": enhance(ops.brightness),
            "colour": enhance(ops.saturation),
            "contrast": enhance(ops.contrast),
            "sharpness": enhance(ops.sharpness),
            "posterize": lambda image, sign: ops.posterize(image, bits),
            "solarize": lambda image, sign: ops.solarize(image, threshold),
            "autocontrast": lambda image, sign: ops.autocontrast(image),
            "equalize": lambda image, sign: ops.equalize(image),
        }

    def _moved(self, row: tuple, column: tuple) -> Callable:
        """A shear or translation; the sign is that of what is off the diagonal."""
        same = tf.constant([1.0, 0, 0, 0, 1, 0])
        change = tf.constant([*row, *column], tf.float32) - same
        return lambda image, sign: self._transform(image, same + sign * change)

    def _rotate(self, angle: float, image: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
        # Counter-clockwise around the middle.
        cos, sin = math.cos(angle), math.sin(angle) * sign
        y, x = (length / 2 for length in image.shape[:2])
        matrix = [cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y]
        return self._transform(
            image, tf.stack([tf.cast(m, tf.float32) for m in matrix])
        )

    def _transform(self, image: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
        return image_operations.transform(
            image, matrix, self.interpolation, float(self.fill)
        )

    def _refuse(self, name: str, rule: str) -> None:
        raise ValueError(
            f"`{name}` must {rule}. "
            f"Received: {name}={getattr(self, name)!r}. Change it."
        )
