"""A small network for spectrograms, to be trained from scratch."""

from collections.abc import Sequence

import keras
from keras import ops

from kmmft.encoders.frozen_layers import freeze_as_configured
from kmmft.layers import FrameTransformer


@keras.saving.register_keras_serializable("kmmft")
class SoundBackbone(keras.Model):
    """Convolutions over time and pitch, and a transformer over time if wanted.

    Each block halves both axes; what is left of the bands is then joined, so that a
    token knows how high a sound is. Frames that the mask leaves out are set to 0
    before each convolution and attended to by none: what is in them is of no
    consequence.

    Args:
        num_frames: Frames of a spectrogram.
        num_mels: Its bands.
        filters: Channels of each block; 2 to the power of their number must not be
            more than `num_mels`.
        hidden_dim: Width of the tokens.
        num_layers: Transformer blocks over the tokens; 0 for none.
        num_heads: Their attention heads, as in `kmmft.layers.FrameTransformer`.
        dropout_rate: Dropout in them.

    Call arguments:
        inputs: dict of `features`, float `(batch, num_frames, num_mels)`, and
            `padding_mask`, bool `(batch, num_frames)`, True marks real frames.

    Returns:
        dict of `tokens` float `(batch, num_tokens, hidden_dim)` and `mask` bool
        `(batch, num_tokens)`, a token for each `2 ** len(filters)` frames.

    Raises:
        ValueError: If there is no block, or there are too many for the bands.

    Example:
        >>> backbone = kmmft.encoders.SoundBackbone(100, 80, (8, 8), 16)
        >>> {name: x.shape for name, x in backbone.output.items()}
        {'tokens': (None, 25, 16), 'mask': (None, 25)}
    """

    def __init__(
        self,
        num_frames: int,
        num_mels: int = 80,
        filters: Sequence[int] = (32, 64, 128),
        hidden_dim: int = 128,
        num_layers: int = 0,
        num_heads: int | None = None,
        dropout_rate: float = 0.0,
        name: str = "sound_backbone",
        **kwargs,
    ):
        if not filters or 2 ** len(filters) > min(num_mels, num_frames):
            raise ValueError(
                "`filters` must be of one block or more, each of which halves frames "
                f"and bands. Received: filters={list(filters)}, "
                f"num_frames={num_frames}, num_mels={num_mels}."
            )
        # === Functional model ===
        features = keras.Input((num_frames, num_mels), dtype="float32", name="features")
        padding_mask = keras.Input((num_frames,), dtype="bool", name="padding_mask")
        x, mask = ops.expand_dims(features, -1), padding_mask
        for index, width in enumerate(filters):
            x = ops.where(mask[:, :, None, None], x, 0.0)
            x = keras.layers.Conv2D(
                width, 3, strides=2, padding="same", name=f"block_{index}_conv"
            )(x)
            x = keras.layers.LayerNormalization(name=f"block_{index}_norm")(x)
            x = keras.layers.Activation("gelu")(x)
            mask = mask[:, ::2]
        _, tokens, bands, width = x.shape
        x = ops.reshape(x, (-1, tokens, bands * width))
        x = keras.layers.Dense(hidden_dim, name="joined_bands")(x)
        x = keras.layers.LayerNormalization(name="joined_norm")(x)
        if num_layers:
            x = FrameTransformer(
                num_layers, num_heads, dropout_rate, name="frame_transformer"
            )(x, mask=mask)
        super().__init__(
            inputs={"features": features, "padding_mask": padding_mask},
            outputs={"tokens": x, "mask": mask},
            name=name,
            **kwargs,
        )
        # === Config ===
        self.num_frames = num_frames
        self.num_mels = num_mels
        self.filters = tuple(filters)
        self.hidden_dim = hidden_dim
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.dropout_rate = dropout_rate

    def get_config(self) -> dict:
        return {
            "name": self.name,
            "trainable": self.trainable,
            "num_frames": self.num_frames,
            "num_mels": self.num_mels,
            "filters": self.filters,
            "hidden_dim": self.hidden_dim,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "dropout_rate": self.dropout_rate,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        return freeze_as_configured(cls(**config))
