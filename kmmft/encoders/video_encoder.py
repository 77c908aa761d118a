"""A video as frames that an image encoder sees one by one."""

import keras
import tensorflow as tf
from keras import ops

from kmmft import data
from kmmft.encoders.frozen_layers import FrozenInference, freeze_as_configured
from kmmft.encoders.image_encoder import ImageEncoder
from kmmft.encoders.masked_inputs import with_mask
from kmmft.layers import FrameTransformer, Pooling

AGGREGATIONS = ("mean", "sequence_transformer")


@keras.saving.register_keras_serializable("kmmft")
class VideoEncoder(FrozenInference, keras.Model):
    """Encodes videos as one pooled vector and a token for each frame.

    The image encoder turns each frame into a vector of length 1. The mean of these
    vectors is a strong start with a pretrained image encoder and has no weights, but
    knows nothing of the order of frames: a film and its reverse are the same to it.
    `"sequence_transformer"` knows, and needs more data. For videos and texts compared
    by cross-attention, see `kmmft.layers.TightSimilarity`.

    Frames that the mask leaves out never reach the pooled vector. If the image
    encoder's `trainable` is False, it runs in inference mode.

    Args:
        image_encoder: Encoder of a frame; its `pooled` vectors are used.
        num_frames: Frames of a video. `preprocess` chooses that many.
        aggregation: `"mean"` or `"sequence_transformer"`.
        num_layers: Blocks of the transformer over frames.
        num_heads: Its attention heads, as in `kmmft.layers.FrameTransformer`.
        dropout_rate: Its dropout.

    Call arguments:
        inputs: dict of `video`, float tensor `(batch, num_frames, height, width, 3)`
            in [0, 255], and `video_mask`, bool `(batch, num_frames)`, True marks real
            frames. `video` alone stands for one without a gap.

    Returns:
        dict of `pooled` float `(batch, output_dim)`, `tokens` float
        `(batch, num_frames, output_dim)` and `mask` bool `(batch, num_frames)`.

    Raises:
        ValueError: If `aggregation` is unknown, or `num_frames` not positive.

    Example:
        >>> backbone = keras_hub.models.ViTBackbone((32, 32, 3), 16, 1, 2, 8, 16)
        >>> encoder = kmmft.encoders.VideoEncoder(
        ...     kmmft.encoders.ImageEncoder(backbone), num_frames=4)
        >>> outputs = encoder(np.zeros((2, 4, 32, 32, 3)))
        >>> outputs["pooled"].shape, outputs["tokens"].shape
        (TensorShape([2, 8]), TensorShape([2, 4, 8]))

    References:
        - [Luo et al., 2021](https://arxiv.org/abs/2104.08860), section 3.3
          (CLIP4Clip: parameter-free and sequential type).
    """

    # In a batch, the modality stands for this part of the inputs' names.
    input_name = "video"
    # Axes of one raw example: it is a list of frames.
    raw_rank = 1

    def __init__(
        self,
        image_encoder: ImageEncoder,
        num_frames: int = 8,
        aggregation: str = "mean",
        num_layers: int = 4,
        num_heads: int | None = None,
        dropout_rate: float = 0.0,
        name: str = "video_encoder",
        **kwargs,
    ):
        if aggregation not in AGGREGATIONS or num_frames < 1:
            raise ValueError(
                f"`aggregation` must be one of {AGGREGATIONS}, and `num_frames` "
                f"positive. Received: aggregation={aggregation!r}, "
                f"num_frames={num_frames}."
            )
        size = image_encoder.image_size
        # === Functional model ===
        video = keras.Input((num_frames, *size, 3), dtype="float32", name="video")
        mask = keras.Input((num_frames,), dtype="bool", name="video_mask")
        images = ops.reshape(video, (-1, *size, 3))
        vectors = image_encoder(images)["pooled"]
        dim = vectors.shape[-1]
        frames = ops.reshape(vectors, (-1, num_frames, dim))
        if aggregation == "sequence_transformer":
            frames = FrameTransformer(
                num_layers, num_heads, dropout_rate, name="frame_transformer"
            )(frames, mask=mask)
        # Each frame counts alike, however long its vector.
        frames = keras.layers.UnitNormalization(dtype="float32", name="unit")(frames)
        pooled = Pooling("mean", dtype="float32", name="mean")(frames, mask=mask)
        super().__init__(
            inputs={"video": video, "video_mask": mask},
            outputs={"pooled": pooled, "tokens": frames, "mask": ops.copy(mask)},
            name=name,
            **kwargs,
        )
        # === Config ===
        self.image_encoder = image_encoder
        self.num_frames = num_frames
        self.aggregation = aggregation
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.dropout_rate = dropout_rate
        self.output_dim = dim

    def preprocess(self, video: tf.Tensor) -> dict[str, tf.Tensor]:
        """Chooses, decodes and resizes frames. Works in `tf.data` and when exported.

        Args:
            video: string tensor of encoded images `(count,)`, or with a batch axis:
                see `kmmft.data.sample_frames`. Or decoded, float32
                `(batch, num_frames, height, width, 3)` of the encoder's own size.

        Returns:
            dict of the inputs `video` and `video_mask`, without a batch axis if
            `video` has none.
        """
        video = tf.convert_to_tensor(video)
        if video.dtype != tf.string:
            return with_mask(tf.cast(video, tf.float32), "video")
        frames, mask = data.sample_frames(video, self.num_frames)
        shape = tf.concat([tf.shape(frames), (*self.image_encoder.image_size, 3)], 0)
        images = self.image_encoder.preprocess(tf.reshape(frames, [-1]))
        images = tf.reshape(images, shape)
        static = (*frames.shape, *self.image_encoder.image_size, 3)
        return {"video": tf.ensure_shape(images, static), "video_mask": mask}

    def __call__(self, inputs, *args, **kwargs):
        return super().__call__(with_mask(inputs, "video"), *args, **kwargs)

    def get_config(self) -> dict:
        return {
            "name": self.name,
            "trainable": self.trainable,
            "image_encoder": keras.saving.serialize_keras_object(self.image_encoder),
            "num_frames": self.num_frames,
            "aggregation": self.aggregation,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "dropout_rate": self.dropout_rate,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        config = dict(config)
        config["image_encoder"] = keras.saving.deserialize_keras_object(
            config["image_encoder"], custom_objects=custom_objects
        )
        return freeze_as_configured(cls(**config))
