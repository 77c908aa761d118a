"""Low-rank bilinear pooling: features of the modalities multiply."""

import keras
from keras import ops

from kmmft.layers.fusion import Fusion, check_positive


@keras.saving.register_keras_serializable("kmmft")
class BilinearFusion(Fusion):
    """Multiplies the modalities' projections, a bilinear form of low rank.

    Use it where the answer depends on both modalities at once, as in visual
    question answering. `factor=1` is MLB: `P (tanh(U x) * tanh(V y)) + b`.
    `factor > 1` is MFB: `U x * V y` is summed in groups of `factor`, then takes the
    signed square root and L2 normalisation, both with finite gradients at zero and
    in float32 under every dtype policy. More than two modalities multiply alike.

    Args:
        hidden_dim: Width of the output; MLB's rank.
        factor: Number of products summed into each output feature; the paper of
            MFB uses 5.
        **kwargs: See `Fusion`.

    Call arguments:
        features: dict, modality name to encoder output; reads `pooled`. At least
            two modalities.
        present: optional dict, modality name to bool tensor `(batch,)`.

    Returns:
        float tensor `(batch, hidden_dim)`.

    Raises:
        ValueError: If there are fewer than two modalities or `factor` is below 1.

    Example:
        >>> features = {"image": {"pooled": np.ones((2, 6))},
        ...             "text": {"pooled": np.ones((2, 4))}}
        >>> kmmft.layers.BilinearFusion(8, factor=5)(features).shape
        TensorShape([2, 8])

    References:
        - [Kim et al., 2017](https://arxiv.org/abs/1610.04325), eq. 3, with tanh
          on both projections (MLB).
        - [Yu et al., 2017](https://arxiv.org/abs/1708.01471), eq. 3 (MFB).
    """

    min_modalities = 2

    def __init__(self, hidden_dim: int, factor: int = 1, **kwargs):
        super().__init__(hidden_dim, **kwargs)
        check_positive("factor", factor)
        self.factor = factor

    @property
    def projection_dim(self) -> int:
        return self.hidden_dim * self.factor

    def build(self, features_shape):
        super().build(features_shape)
        if self.factor == 1:
            self.output_projection = keras.layers.Dense(
                self.hidden_dim, dtype=self.dtype_policy, name="output_projection"
            )
            self.output_projection.build((None, self.hidden_dim))

    def fuse(self, inputs, masks, training):
        product = None
        for name in self.modalities:
            projected = self.projections[name](inputs[name])
            if self.factor == 1:
                projected = ops.tanh(projected)
            else:
                projected = ops.cast(projected, "float32")
            product = projected if product is None else product * projected
        if self.factor == 1:
            return self.output_projection(product)
        pooled = ops.sum(
            ops.reshape(product, (-1, self.hidden_dim, self.factor)), axis=-1
        )
        # sign(z) sqrt(|z|), whose slope at zero is 1e4 rather than infinite.
        pooled = pooled * ops.rsqrt(ops.abs(pooled) + 1e-8)
        squares = ops.sum(ops.square(pooled), axis=-1, keepdims=True)
        pooled = pooled * ops.rsqrt(ops.maximum(squares, 1e-12))
        return ops.cast(pooled, self.compute_dtype)

    # === Config ===
    def get_config(self) -> dict:
        return {**super().get_config(), "factor": self.factor}
