"""SpecAugment: hides stretches of time and bands of pitch in training."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("kmmft")
class SpecAugment(keras.layers.Layer):
    """Masks random frames and bands of spectrograms, in training only.

    Each example has masks of its own. A mask's width is uniform between 0 and the
    greatest, and so is its place among the real frames, or the bands. What is masked
    becomes 0, near the mean of `LogMel`. The policies of the paper, in the order of
    the arguments: LB is (1, 100, 1, 27), LD (2, 100, 2, 27), SM (2, 70, 2, 15, 0.2),
    SS (2, 70, 2, 27, 0.2), at 100 frames a second and 80 bands. The paper's warping of
    time, which brought it least, is left out.

    Args:
        num_time_masks: Masks of frames.
        time_mask_width: Greatest width of such a mask, in frames.
        num_frequency_masks: Masks of bands.
        frequency_mask_width: Greatest width of such a mask, in bands.
        max_time_share: Greatest width of a mask of frames, as a share of the real
            ones.
        seed: Seed of the masks.

    Call arguments:
        spectrogram: float tensor `(batch, frames, bands)`.
        mask: optional bool tensor `(batch, frames)`, True marks real frames, which
            stand before the others.
        training: Whether to mask.

    Returns:
        float tensor `(batch, frames, bands)`.

    Raises:
        ValueError: If a number is negative, or `max_time_share` not in [0, 1].

    Example:
        >>> layer = kmmft.layers.SpecAugment(1, 5, 1, 2, seed=0)
        >>> layer(np.ones((2, 10, 4)), training=True).shape
        TensorShape([2, 10, 4])

    References:
        - [Park et al., 2019](https://arxiv.org/abs/1904.08779), section 2 and table 1.
    """

    def __init__(
        self,
        num_time_masks: int = 2,
        time_mask_width: int = 100,
        num_frequency_masks: int = 2,
        frequency_mask_width: int = 27,
        max_time_share: float = 1.0,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        numbers = {
            "num_time_masks": num_time_masks,
            "time_mask_width": time_mask_width,
            "num_frequency_masks": num_frequency_masks,
            "frequency_mask_width": frequency_mask_width,
        }
        if min(numbers.values()) < 0 or not 0 <= max_time_share <= 1:
            raise ValueError(
                "Numbers must not be negative, and `max_time_share` must be in "
                f"[0, 1]. Received: {numbers}, max_time_share={max_time_share}."
            )
        self.num_time_masks = num_time_masks
        self.time_mask_width = time_mask_width
        self.num_frequency_masks = num_frequency_masks
        self.frequency_mask_width = frequency_mask_width
        self.max_time_share = max_time_share
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, spectrogram, mask=None, training=False):
        if not training:
            return spectrogram
        batch, frames, bands = ops.shape(spectrogram)
        length = ops.full((batch,), frames, "int32")
        if mask is not None:
            length = ops.sum(ops.cast(mask, "int32"), axis=1)
        length = ops.cast(length, "float32")
        widest = ops.minimum(self.time_mask_width + 1.0, self.max_time_share * length)
        hidden = self._masks(self.num_time_masks, frames, length, widest)
        spectrogram = ops.where(hidden[:, :, None], 0.0, spectrogram)
        every = ops.full_like(length, bands)
        widest = ops.minimum(self.frequency_mask_width + 1.0, every)
        hidden = self._masks(self.num_frequency_masks, bands, every, widest)
        return ops.where(hidden[:, None], 0.0, spectrogram)

    def _masks(self, count, size, length, widest):
        """bool `(batch, size)`: the union of `count` masks within `length`."""
        if not count:
            return ops.zeros((ops.shape(length)[0], size), "bool")
        shape = (ops.shape(length)[0], count)
        width, place = (
            keras.random.uniform(shape, seed=self.generator, dtype="float32")
            for _ in range(2)
        )
        # Whole numbers, from 0 to the greatest width itself.
        width = ops.floor(width * widest[:, None])
        start = ops.floor(place * (length[:, None] - width + 1))
        index = ops.arange(size, dtype="float32")
        inside = (index >= start[..., None]) & (index < (start + width)[..., None])
        return ops.any(inside, axis=1)

    def compute_mask(self, inputs, previous_mask=None):
        return None

    def compute_output_shape(self, spectrogram_shape) -> tuple:
        return tuple(spectrogram_shape)

    # === Config ===
    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "num_time_masks": self.num_time_masks,
            "time_mask_width": self.time_mask_width,
            "num_frequency_masks": self.num_frequency_masks,
            "frequency_mask_width": self.frequency_mask_width,
            "max_time_share": self.max_time_share,
            "seed": self.seed,
        }
