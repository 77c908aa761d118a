"""Training with some of each example's modalities hidden."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("kmmft")
class ModalityDropout(keras.layers.Layer):
    """Hides modalities of examples at random in training, never all that there are.

    Makes a model ready for examples that lack a modality, and keeps it from leaning on
    the strongest one alone. Every fusion layer has one, as `modality_dropout_rate`;
    take this one for a fusion of your own. In use it changes nothing.

    Args:
        rate: Chance that a modality of an example is hidden. With M modalities present
            the rate is `rate - rate**M / M`, as the last one is spared.
        seed: Seed of the draws.

    Call arguments:
        presence: bool tensor `(batch, modalities)`, which modalities each example has.
        training: bool.

    Returns:
        bool tensor `(batch, modalities)`: True where one is there and not hidden.

    Raises:
        ValueError: If `rate` is not in [0, 1).

    Example:
        >>> dropout = kmmft.layers.ModalityDropout(0.9, seed=0)
        >>> presence = np.array([[True, True], [True, False]])
        >>> bool(np.all(dropout(presence) == presence))
        True
        >>> np.sum(dropout(presence, training=True), axis=1).tolist()
        [1, 1]

    References:
        - [Neverova et al., 2015](https://arxiv.org/abs/1501.00102), sec. 3.2 (ModDrop).
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(
                f"`rate` must be in [0, 1). Received: rate={rate}. Take for example 0.2"
            )
        self.rate = rate
        self.seed = seed
        if rate > 0:
            self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, presence, training=None):
        if not training or self.rate == 0:
            return presence
        draws = keras.random.uniform(
            ops.shape(presence), dtype="float32", seed=self.seed_generator
        )
        # The present modality with the greatest draw always stays: where any is
        # kept it is among them, and where none is it is the one to be spared.
        greatest = ops.max(ops.where(presence, draws, -1.0), axis=1, keepdims=True)
        kept = ops.logical_or(draws >= self.rate, draws == greatest)
        return ops.logical_and(presence, kept)

    def compute_output_spec(self, presence, training=None):
        return keras.KerasTensor(presence.shape, dtype="bool")

    # === Config ===
    def get_config(self) -> dict:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
