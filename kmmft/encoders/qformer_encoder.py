"""What a BLIP-2 reads of an image."""

import keras
from keras import ops

from kmmft.encoders.blip2_repairs import tell_dtype
from kmmft.encoders.frozen_layers import freeze_as_configured


@keras.saving.register_keras_serializable("kmmft")
class QFormerEncoder(keras.Model):
    """A BLIP-2's image encoder, querying transformer and projection.

    Its few tokens, one for each learnt query, are as wide as the words of the language
    model, without whose weights it comes.

    Args:
        vision_encoder: A `keras_hub.models.BLIP2VisionEncoder`.
        qformer: A `keras_hub.models.BLIP2QFormer`, which asks the queries.
        projection: Layer from the queries' width to the words'.

    Call arguments:
        inputs: float tensor `(batch, height, width, 3)`, normalised as CLIP's.

    Returns:
        float tensor `(batch, num_query_tokens, hidden_dim)`.

    Example:
        >>> vision = keras_hub.models.BLIP2VisionEncoder(
        ...     8, 4, 1, 2, 8, 8, True, True, True, True, 0.0, 1e-6, 0.02)
        >>> queries = keras_hub.models.BLIP2QFormer(3, 1, 2, 8, 8, 8, 2, 0.0, 1e-12)
        >>> projection = keras.layers.Dense(16)
        >>> encoder = kmmft.encoders.QFormerEncoder(vision, queries, projection)
        >>> encoder(np.ones((2, 8, 8, 3))).shape
        TensorShape([2, 3, 16])

    References:
        - [Li et al., 2023](https://arxiv.org/abs/2301.12597), sections 3.1 and 3.3.
    """

    def __init__(
        self,
        vision_encoder: keras.Model,
        qformer: keras.Model,
        projection: keras.layers.Layer,
        name: str = "qformer_encoder",
        **kwargs,
    ):
        # KerasHub numbers them, which `kmmft.finetuning.layer_depths` would take for
        # numbers of blocks.
        vision_encoder.name, qformer.name = "blip2_vision_encoder", "blip2_qformer"
        # === Functional model ===
        images = keras.Input(vision_encoder.input.shape[1:], name="images")
        tokens = projection(qformer(vision_encoder(images)))
        # OPT's projection forgets how many there are.
        shape = (-1, qformer.num_query_tokens, tokens.shape[-1])
        tokens = ops.reshape(tokens, shape)
        super().__init__(inputs=images, outputs=tokens, name=name, **kwargs)
        # === Config ===
        for part in (vision_encoder, qformer):
            tell_dtype(part)
        self.vision_encoder = vision_encoder
        self.qformer = qformer
        self.projection = projection
        self.patch_size = vision_encoder.patch_size

    @classmethod
    def from_backbone(cls, backbone: keras.Model) -> "QFormerEncoder":
        """Of a `keras_hub.models.BLIP2Backbone`, which may be thrown away.

        Raises:
            ValueError: If it reads text alone.
        """
        if backbone.vision_encoder is None:
            raise ValueError(
                "A BLIP-2 that writes about images needs a vision encoder. Received: a "
                f"{type(backbone).__name__} with vision_encoder=None."
            )
        projection = backbone.language_model.language_projection
        return cls(backbone.vision_encoder, backbone.qformer, projection)

    def get_config(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "trainable": self.trainable,
            "vision_encoder": serialize(self.vision_encoder),
            "qformer": serialize(self.qformer),
            "projection": serialize(self.projection),
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        config = dict(config)
        for key in ("vision_encoder", "qformer", "projection"):
            config[key] = keras.saving.deserialize_keras_object(
                config[key], custom_objects=custom_objects
            )
        return freeze_as_configured(cls(**config))
