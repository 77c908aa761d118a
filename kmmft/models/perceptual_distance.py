"""How different two images look to a pretrained network."""

import keras
import tensorflow as tf

from kmmft.encoders import ImageEncoder
from kmmft.encoders.features import normalised


class PerceptualDistance:
    """Distance between the features that an image encoder finds in two images.

    At each place of each feature map the features are brought to length 1; the
    squared differences are summed over the features and averaged over the places,
    and the maps' distances are averaged. Unlike LPIPS no feature has a learnt weight,
    so that any encoder will do. The encoder is not trained.

    Args:
        encoder: Its backbone's maps of all sizes (`pyramid_outputs`) are compared
            where there are any, otherwise its tokens.

    Call arguments:
        first, second: float tensors `(batch, height, width, 3)` in [0, 255].

    Returns:
        float32 tensor `(batch,)`, from 0 for equal images to 4.

    Example:
        >>> backbone = keras_hub.models.ViTBackbone((32, 32, 3), 16, 1, 2, 8, 16)
        >>> distance = kmmft.models.PerceptualDistance(
        ...     kmmft.encoders.ImageEncoder(backbone))
        >>> images = np.zeros((2, 32, 32, 3), "float32")
        >>> distance(images, images).numpy()
        array([0., 0.], dtype=float32)

    References:
        - [Zhang et al., 2018](https://arxiv.org/abs/1801.03924), eq. 1 with w = 1.
    """

    def __init__(self, encoder: ImageEncoder):
        self.encoder = encoder
        self._features = _features(encoder)

    def __call__(self, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        pairs = zip(self._maps_of(first), self._maps_of(second), strict=True)
        distances = [
            tf.reduce_mean(tf.reduce_sum(tf.square(a - b), axis=-1), axis=1)
            for a, b in pairs
        ]
        return tf.add_n(distances) / len(distances)

    def _maps_of(self, images: tf.Tensor) -> list[tf.Tensor]:
        images = tf.image.resize(images, self.encoder.image_size)
        maps = keras.tree.flatten(self._features(images, training=False))
        return [_of_length_one(features) for features in maps]


def _features(encoder: ImageEncoder) -> keras.Model:
    pyramid = getattr(encoder.backbone, "pyramid_outputs", None)
    if not pyramid:
        return keras.Model(encoder.input, encoder.output["tokens"])
    maps = keras.Model(encoder.backbone.input, list(pyramid.values()))
    image = keras.Input(encoder.input.shape[1:])
    return keras.Model(image, maps(normalised(image, encoder.mean, encoder.std)))


def _of_length_one(features: tf.Tensor) -> tf.Tensor:
    features = tf.cast(features, tf.float32)
    flat = tf.reshape(features, (tf.shape(features)[0], -1, features.shape[-1]))
    return tf.math.l2_normalize(flat, axis=-1, epsilon=1e-10)
