"""Concatenation: the baseline that every other fusion must beat."""

import keras
from keras import ops

from kmmft.layers.fusion import Fusion


@keras.saving.register_keras_serializable("kmmft")
class ConcatFusion(Fusion):
    """Concatenates the projected vectors and mixes them in one dense layer.

    Computes `activation(W [p_1; ...; p_M] + b)` with `p_i = W_i x_i + b_i`. Start
    here: it takes any number of modalities and is hard to beat on little data.

    Args:
        hidden_dim: Width of each projection and of the output.
        activation: Activation of the output.
        **kwargs: See `Fusion`.

    Call arguments:
        features: dict, modality name to encoder output; reads `pooled`.
        present: optional dict, modality name to bool tensor `(batch,)`.

    Returns:
        float tensor `(batch, hidden_dim)`.

    Example:
        >>> features = {"image": {"pooled": np.ones((2, 6))},
        ...             "text": {"pooled": np.ones((2, 4))}}
        >>> kmmft.layers.ConcatFusion(8)(features).shape
        TensorShape([2, 8])
    """

    def __init__(self, hidden_dim: int, activation: str = "relu", **kwargs):
        super().__init__(hidden_dim, **kwargs)
        self.activation = keras.activations.get(activation)

    def build(self, features_shape):
        super().build(features_shape)
        self.mix = keras.layers.Dense(
            self.hidden_dim, self.activation, dtype=self.dtype_policy, name="mix"
        )
        self.mix.build((None, len(self.modalities) * self.hidden_dim))

    def fuse(self, inputs, masks, training):
        projected = [self.projections[name](inputs[name]) for name in self.modalities]
        return self.mix(ops.concatenate(projected, axis=-1))

    # === Config ===
    def get_config(self) -> dict:
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "activation": activation}
