"""Any image backbone as an encoder with one contract."""

import pathlib

import keras
import tensorflow as tf
from keras import ops

from kmmft import data
from kmmft.encoders import handles, presets
from kmmft.encoders.checkpoint_files import is_dual_checkpoint
from kmmft.encoders.checkpoint_towers import Towers, load_towers
from kmmft.encoders.families import image_family
from kmmft.encoders.features import image_features, normalised, pooled_image
from kmmft.encoders.frozen_layers import FrozenInference, freeze_as_configured
from kmmft.encoders.resize_backbone import checked_image_size, resize_backbone
from kmmft.encoders.saved_model import image_backbone


@keras.saving.register_keras_serializable("kmmft")
class ImageEncoder(FrozenInference, keras.Model):
    """Encodes images as one pooled vector and a sequence of tokens.

    Takes pixels in [0, 255] and normalises them inside, so that an exported model
    does too. Feature maps become tokens row by row; class, distillation and
    register tokens are left out of `tokens`, so that each token is a place in the
    image. All tokens are real: the mask is True everywhere.

    Args:
        backbone: A KerasHub image backbone, or a functional `keras.Model` whose
            output is a feature map, a token sequence or a vector.
        image_size: (height, width) or one int. Defaults to the backbone's own size,
            or 224 where any size goes. For another size than the backbone was built
            for, use `from_backbone`.
        pooling: `"cls"`, `"mean"`, `"max"`, `"pooler"` (the backbone's own pooled
            output), or `None` for what the backbone's authors used.
        mean: Mean to subtract, a float or one per channel, in units of [0, 255].
            Defaults to the backbone family's.
        std: Standard deviation to divide by, likewise.
        resize_mode: How `preprocess` brings an image to `image_size`: see
            `kmmft.data.decode_image`.
        interpolation: `"bilinear"` or `"bicubic"`, likewise.
        projection: Layer applied to the pooled vector, such as CLIP's projection
            into the shared space.
        patch_dropout_rate: Share of a vision transformer's patches to leave out in
            training; see `kmmft.layers.PatchDropout`. `tokens` then are those kept.

    Call arguments:
        image: float tensor `(batch, height, width, 3)` in [0, 255].

    Returns:
        dict of `pooled` float `(batch, output_dim)`, `tokens` float
        `(batch, num_tokens, dim)` and `mask` bool `(batch, num_tokens)`.

    Raises:
        ValueError: If `backbone` is no image encoder, or cannot take `image_size`.

    Example:
        >>> import keras_hub
        >>> backbone = keras_hub.models.ViTBackbone((32, 32, 3), 16, 1, 2, 8, 16)
        >>> encoder = kmmft.encoders.ImageEncoder(backbone)
        >>> outputs = encoder(np.full((2, 32, 32, 3), 255.0))
        >>> outputs["pooled"].shape, outputs["tokens"].shape
        (TensorShape([2, 8]), TensorShape([2, 4, 8]))

    References:
        - [Dosovitskiy et al., 2020](https://arxiv.org/abs/2010.11929), eq. 4
          (the class token as pooled vector).
    """

    def __init__(
        self,
        backbone: keras.Model,
        image_size: int | tuple[int, int] | None = None,
        pooling: str | None = None,
        mean: float | tuple[float, ...] | None = None,
        std: float | tuple[float, ...] | None = None,
        resize_mode: str = "crop",
        interpolation: str = "bilinear",
        projection: keras.layers.Layer | None = None,
        patch_dropout_rate: float = 0.0,
        name: str = "image_encoder",
        **kwargs,
    ):
        family = image_family(backbone)
        image_size = checked_image_size(backbone, image_size)
        mean = family.normalisation[0] if mean is None else mean
        std = family.normalisation[1] if std is None else std
        # === Functional model ===
        image = keras.Input((*image_size, 3), dtype="float32", name="image")
        tokens, pooled = image_features(
            backbone, family, normalised(image, mean, std), patch_dropout_rate
        )
        pooling = pooling or ("pooler" if tokens is None else family.pooling)
        prefix = family.prefix_tokens(backbone)
        pooled = pooled_image(tokens, pooled, pooling, prefix)
        tokens = ops.expand_dims(pooled, 1) if tokens is None else tokens[:, prefix:]
        if projection is not None:
            pooled = projection(pooled)
        mask = ops.ones_like(tokens[..., 0], dtype="bool")
        super().__init__(
            inputs=image,
            outputs={"pooled": pooled, "tokens": tokens, "mask": mask},
            name=name,
            **kwargs,
        )
        # === Config ===
        self.backbone = backbone
        self.image_size = image_size
        self.pooling = pooling
        self.mean = mean
        self.std = std
        self.resize_mode = resize_mode
        self.interpolation = interpolation
        self.projection = projection
        self.patch_dropout_rate = patch_dropout_rate
        self.output_dim = pooled.shape[-1]

    @classmethod
    def from_backbone(
        cls,
        backbone: keras.Model,
        image_size: int | tuple[int, int] | None = None,
        **kwargs,
    ) -> "ImageEncoder":
        """From a backbone, or from the image tower of a dual-tower backbone.

        Args:
            backbone: As in the constructor, or a KerasHub `CLIPBackbone`,
                `SigLIPBackbone` or `MetaCLIP2Backbone`, whose image tower is taken, or
                a `PaliGemmaBackbone`, `Gemma3Backbone` or `BLIP2Backbone`, of which
                what reads images is taken.
            image_size: As in the constructor, but a backbone that was built for
                another size is rebuilt for this one, its position embeddings resized.
            **kwargs: Further arguments of `ImageEncoder`. The towers of CLIP and
                MetaCLIP 2 come with their projection unless `projection` is given.
        """
        tower, projection = presets.image_tower(backbone)
        own = tower.inputs[0].shape[-3:-1]
        if image_size is not None and None not in own and own != _pair(image_size):
            tower = resize_backbone(tower, _pair(image_size))
        kwargs = {"projection": projection, **kwargs}
        return cls(tower, image_size=image_size, **kwargs)

    @classmethod
    def from_preset(
        cls,
        handle: str,
        image_size: int | tuple[int, int] | None = None,
        load_weights: bool = True,
        **kwargs,
    ) -> "ImageEncoder":
        """From a pretrained model's name or directory.

        Args:
            handle: A KerasHub preset name, `hf://...`, `kaggle://...`, a local
                KerasHub preset or Hugging Face directory, or `"demo"`: an
                EfficientNet-Lite0 trained on ImageNet, from a pip package. A
                SavedModel directory goes to `from_saved_model`, a CLIP or SigLIP of
                Hugging Face or open_clip to `from_checkpoint`.
            image_size: As in `from_backbone`.
            load_weights: False gives the architecture with random weights.
            **kwargs: Further arguments of `ImageEncoder`. `mean` and `std` default
                to those of the preset.

        Raises:
            ValueError: If there is no such model, or it is no image encoder.

        Example:
            >>> encoder = kmmft.encoders.ImageEncoder.from_preset(
            ...     "demo", image_size=32, load_weights=False)
            >>> encoder.output_dim
            1280
        """
        if handles.is_saved_model(handle):
            return cls.from_saved_model(handle, image_size=image_size or 224, **kwargs)
        if is_dual_checkpoint(handle):
            return cls.from_checkpoint(handle, image_size, **kwargs)
        backbone, normalisation = presets.load_image_backbone(handle, load_weights)
        kwargs = {**normalisation, **kwargs}
        return cls.from_backbone(backbone, image_size=image_size, **kwargs)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | pathlib.Path,
        image_size: int | tuple[int, int] | None = None,
        **kwargs,
    ) -> "ImageEncoder":
        """From the image tower of a CLIP or SigLIP of `transformers` or open_clip.

        Args:
            path: As in `kmmft.encoders.load_dual_checkpoint`.
            image_size: As in `from_backbone`.
            **kwargs: Further arguments of `ImageEncoder`; they default to those of
                the checkpoint.

        Raises:
            ValueError: As in `kmmft.encoders.load_dual_checkpoint`.
        """
        return cls.from_towers(load_towers(path), image_size, **kwargs)

    @classmethod
    def from_towers(
        cls,
        towers: Towers,
        image_size: int | tuple[int, int] | None = None,
        **kwargs,
    ) -> "ImageEncoder":
        """From a checkpoint that was read; see `from_checkpoint`."""
        backbone = towers.image
        if image_size is not None and _pair(image_size) != backbone.image_shape[:2]:
            size = _pair(image_size)
            backbone = resize_backbone(backbone, size, towers.antialias)
        options = {**towers.image_options, "projection": towers.image_projection}
        return cls(backbone, **{**options, **kwargs})

    @classmethod
    def from_saved_model(
        cls,
        handle: str,
        image_size: int | tuple[int, int] = 224,
        mean: float | tuple[float, ...] = 0.0,
        std: float | tuple[float, ...] = 255.0,
        output_key: str | None = None,
        trainable: bool = True,
        **kwargs,
    ) -> "ImageEncoder":
        """From a TensorFlow SavedModel, such as an image module of TF Hub.

        Args:
            handle: A SavedModel directory, a `https://tfhub.dev/...` address or
                `kaggle://owner/model/framework/variation/version`.
            image_size: Size of the images that the module takes.
            mean: As in the constructor. TF Hub's image modules take pixels in
                [0, 1], the default here; for [-1, 1] set mean and std to 127.5.
            std: As in the constructor.
            output_key: Key of the module's output, where it returns a dict.
            trainable: Whether the module's weights are trained.
            **kwargs: Further arguments of `ImageEncoder`.

        Raises:
            ValueError: If `handle` leads to no SavedModel.
        """
        backbone = image_backbone(handle, _pair(image_size), output_key, trainable)
        return cls(backbone, image_size=image_size, mean=mean, std=std, **kwargs)

    def preprocess(self, encoded: tf.Tensor) -> tf.Tensor:
        """Decodes and resizes images. Works in `tf.data` and in exported graphs.

        Args:
            encoded: string tensor of JPEG, PNG, GIF, BMP or WebP bytes, a scalar or
                `(batch,)`.

        Returns:
            float32 tensor `(height, width, 3)`, or with a batch axis, in [0, 255].
        """
        encoded = tf.convert_to_tensor(encoded, tf.string)
        decode = data.decode_images if encoded.shape.rank else data.decode_image
        return decode(encoded, self.image_size, self.resize_mode, self.interpolation)

    def get_config(self) -> dict:
        return {
            "name": self.name,
            "trainable": self.trainable,
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "image_size": self.image_size,
            "pooling": self.pooling,
            "mean": self.mean,
            "std": self.std,
            "resize_mode": self.resize_mode,
            "interpolation": self.interpolation,
            "projection": keras.saving.serialize_keras_object(self.projection),
            "patch_dropout_rate": self.patch_dropout_rate,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        config = dict(config)
        for key in ("backbone", "projection"):
            config[key] = keras.saving.deserialize_keras_object(
                config[key], custom_objects=custom_objects
            )
        return freeze_as_configured(cls(**config))


def _pair(image_size: int | tuple[int, int]) -> tuple[int, int]:
    if isinstance(image_size, int):
        return image_size, image_size
    return tuple(image_size)
