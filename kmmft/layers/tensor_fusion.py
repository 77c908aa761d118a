"""Tensor fusion: every product of features across modalities."""

import keras
from keras import ops

from kmmft.layers.fusion import Fusion


@keras.saving.register_keras_serializable("kmmft")
class TensorFusion(Fusion):
    """Takes the outer product of all modalities, with a one added to each.

    The ones keep the lower-order products: with three modalities the tensor holds
    every feature alone, every pair and every triple. It has
    `(hidden_dim + 1) ** M` entries for M modalities, so keep `hidden_dim` small
    (16 to 64 for two, 8 to 16 for three), or use `BilinearFusion`.

    Args:
        hidden_dim: Width of each modality's vector `h_i = relu(W_i x_i + b_i)`.
        output_dim: Width of the output, one dense layer after the tensor. `None`
            takes `hidden_dim`.
        **kwargs: See `Fusion`.

    Call arguments:
        features: dict, modality name to encoder output; reads `pooled`.
        present: optional dict, modality name to bool tensor `(batch,)`.

    Returns:
        float tensor `(batch, output_dim)`.

    Example:
        >>> features = {"image": {"pooled": np.ones((2, 6))},
        ...             "text": {"pooled": np.ones((2, 4))}}
        >>> kmmft.layers.TensorFusion(4, output_dim=16)(features).shape
        TensorShape([2, 16])

    References:
        - [Zadeh et al., 2017](https://arxiv.org/abs/1707.07250), section 4.2.
    """

    def __init__(self, hidden_dim: int, output_dim: int | None = None, **kwargs):
        super().__init__(hidden_dim, **kwargs)
        self.output_dim = output_dim or hidden_dim

    def build(self, features_shape):
        super().build(features_shape)
        self.output_projection = keras.layers.Dense(
            self.output_dim,
            activation="relu",
            dtype=self.dtype_policy,
            name="output_projection",
        )
        entries = (self.hidden_dim + 1) ** len(self.modalities)
        self.output_projection.build((None, entries))

    def fuse(self, inputs, masks, training):
        tensor = None
        for name in self.modalities:
            vector = ops.relu(self.projections[name](inputs[name]))
            vector = ops.concatenate([vector, ops.ones_like(vector[:, :1])], axis=-1)
            if tensor is None:
                tensor = vector
            else:
                size = tensor.shape[-1] * vector.shape[-1]
                tensor = ops.reshape(tensor[:, :, None] * vector[:, None], (-1, size))
        return self.output_projection(tensor)

    # === Config ===
    def get_config(self) -> dict:
        return {**super().get_config(), "output_dim": self.output_dim}
