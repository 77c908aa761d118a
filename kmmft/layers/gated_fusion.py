"""Gated multimodal unit: each feature of the output chooses its modality."""

import keras
from keras import ops

from kmmft.layers.fusion import Fusion


@keras.saving.register_keras_serializable("kmmft")
class GatedFusion(Fusion):
    """Weighs the modalities feature by feature with a learnt gate (GMU).

    Use it where the modalities differ in worth from example to example. With two
    modalities, by name, `h = z * tanh(W_1 x_1) + (1 - z) * tanh(W_2 x_2)` and
    `z = sigmoid(W_z [x_1; x_2])`. With any other number each has its own gate
    `z_i = sigmoid(W_zi [x_1; ...; x_M])` and `h` is the sum of
    `z_i * tanh(W_i x_i)`. Biases are learnt too.

    Args:
        hidden_dim: Width of each projection and of the output.
        **kwargs: See `Fusion`.

    Call arguments:
        features: dict, modality name to encoder output; reads `pooled`.
        present: optional dict, modality name to bool tensor `(batch,)`.

    Returns:
        float tensor `(batch, hidden_dim)`.

    Example:
        >>> features = {"image": {"pooled": np.ones((2, 6))},
        ...             "text": {"pooled": np.ones((2, 4))}}
        >>> kmmft.layers.GatedFusion(8)(features).shape
        TensorShape([2, 8])

    References:
        - [Arevalo et al., 2017](https://arxiv.org/abs/1702.01992), figure 2: (a)
          for many modalities, (b) for two.
    """

    def build(self, features_shape):
        super().build(features_shape)
        number = len(self.modalities)
        width = sum(features_shape[name]["pooled"][-1] for name in self.modalities)
        self.gate = keras.layers.Dense(
            self.hidden_dim * (1 if number == 2 else number),
            activation="sigmoid",
            dtype=self.dtype_policy,
            name="gate",
        )
        self.gate.build((None, width))

    def fuse(self, inputs, masks, training):
        gates = self.gate(
            ops.concatenate([inputs[name] for name in self.modalities], axis=-1)
        )
        if len(self.modalities) == 2:
            gates = [gates, 1.0 - gates]
        else:
            gates = ops.split(gates, len(self.modalities), axis=-1)
        return sum(
            gate * ops.tanh(self.projections[name](inputs[name]))
            for gate, name in zip(gates, self.modalities, strict=True)
        )
