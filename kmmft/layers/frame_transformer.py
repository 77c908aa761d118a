"""Frame transformer: makes frames of a video know of each other and of their order."""

import keras
from keras import ops

from kmmft.layers.attention_block import AttentionBlock


@keras.saving.register_keras_serializable("kmmft")
class FrameTransformer(keras.layers.Layer):
    """Adds to each frame's vector what the other frames tell of it.

    A transformer over frames with learnt positions, and a residual connection around
    all of it: `frames + transformer(frames + positions)`. The sequence of frames
    matters to it, as it does not to their mean. Frames that `mask` leaves out are
    attended to by none; what stands in their own places is of no use.

    Args:
        num_layers: Number of transformer blocks.
        num_heads: Attention heads of a block. Must divide the frames' width. `None`
            for one head every 64 numbers of the width, or a single one if 64 does
            not divide it.
        dropout_rate: Dropout on attention weights and in the blocks.

    Call arguments:
        frames: float tensor `(batch, num_frames, dim)`. The number of frames is fixed.
        mask: optional bool tensor `(batch, num_frames)`, True marks real frames.

    Returns:
        float tensor `(batch, num_frames, dim)`.

    Raises:
        ValueError: If `num_layers` is not positive, or `num_heads` does not divide
            the width.

    Example:
        >>> layer = kmmft.layers.FrameTransformer(num_layers=1, num_heads=2)
        >>> layer(np.ones((2, 8, 4))).shape
        TensorShape([2, 8, 4])

    References:
        - [Luo et al., 2021](https://arxiv.org/abs/2104.08860), section 3.3
          (sequential type).
    """

    def __init__(
        self,
        num_layers: int = 4,
        num_heads: int | None = None,
        dropout_rate: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if num_layers < 1:
            raise ValueError(
                f"`num_layers` must be positive. Received: num_layers={num_layers}."
            )
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.dropout_rate = dropout_rate
        self.supports_masking = True

    def build(self, frames_shape):
        # === Layers ===
        _, num_frames, dim = frames_shape
        self.positions = self.add_weight(
            shape=(num_frames, dim),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="positions",
        )
        # Flat, with the name as key: Keras does not save layers in nested lists.
        self.blocks = {}
        for index in range(self.num_layers):
            block = AttentionBlock(
                self.num_heads or default_heads(dim),
                self.dropout_rate,
                dtype=self.dtype_policy,
                name=f"block_{index}",
            )
            block.build((None, num_frames, dim))
            self.blocks[block.name] = block

    def call(self, frames, mask=None, training=None):
        if mask is not None:
            mask = ops.cast(mask, "bool")
            # Attention of weight 0 to NaN would be NaN.
            frames = ops.where(mask[..., None], frames, 0)
        x = frames + ops.cast(self.positions, frames.dtype)
        for block in self.blocks.values():
            x = block(x, key_mask=mask, training=training)
        return frames + x

    def compute_mask(self, inputs, previous_mask=None):
        return None

    def compute_output_shape(self, frames_shape) -> tuple:
        return tuple(frames_shape)

    # === Config ===
    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "dropout_rate": self.dropout_rate,
        }


def default_heads(dim: int) -> int:
    """Heads of 64 numbers each, as in CLIP; one if that does not go."""
    return max(1, dim // 64) if dim % 64 == 0 else 1
