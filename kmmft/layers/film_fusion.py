"""FiLM: one modality scales and shifts the features of another."""

import keras
from keras import ops

from kmmft.layers.fusion import Fusion, check_positive
from kmmft.layers.pooling import Pooling


@keras.saving.register_keras_serializable("kmmft")
class FiLMFusion(Fusion):
    """Modulates one modality's tokens by another: feature-wise linear modulation.

    Use it where one modality asks and the other is looked at, such as a question
    about an image, and where attention would be too costly. Each layer is a
    residual block on the tokens: `t + relu(gamma * LayerNorm(W t) + beta)`, the
    LayerNorm without scale and offset, `gamma` and `beta` linear in the condition
    (`gamma` as the difference from 1). The mean of the real tokens is returned.

    Args:
        hidden_dim: Width of both projections and of the output.
        condition: Name of the modality that modulates; its `pooled` is read. Of
            the other one `tokens` are read.
        num_layers: Number of residual blocks.
        **kwargs: See `Fusion`.

    Call arguments:
        features: dict, modality name to encoder output. Exactly two modalities.
        present: optional dict, modality name to bool tensor `(batch,)`.

    Returns:
        float tensor `(batch, hidden_dim)`.

    Raises:
        ValueError: If there are not exactly two modalities, or `condition` is
            neither of them.

    Example:
        >>> features = {"image": {"tokens": np.ones((2, 9, 6))},
        ...             "question": {"pooled": np.ones((2, 4))}}
        >>> kmmft.layers.FiLMFusion(8, condition="question")(features).shape
        TensorShape([2, 8])

    References:
        - [Perez et al., 2018](https://arxiv.org/abs/1709.07871), eqs. 1-2; the
          batch normalisation of its residual block is a LayerNorm here, as tokens
          have padding.
    """

    min_modalities = 2
    max_modalities = 2
    roles = ("condition",)

    def __init__(self, hidden_dim: int, condition: str, num_layers: int = 2, **kwargs):
        super().__init__(hidden_dim, **kwargs)
        check_positive("num_layers", num_layers)
        self.condition = condition
        self.num_layers = num_layers

    def source(self, modality: str) -> str:
        return "pooled" if modality == self.condition else "tokens"

    def build(self, features_shape):
        super().build(features_shape)
        policy = self.dtype_policy
        self.modulated = next(n for n in self.modalities if n != self.condition)
        self.modulation = keras.layers.Dense(
            2 * self.num_layers * self.hidden_dim, dtype=policy, name="modulation"
        )
        self.modulation.build((None, self.hidden_dim))
        self.norm = keras.layers.LayerNormalization(
            epsilon=1e-6, center=False, scale=False, dtype=policy, name="norm"
        )
        self.norm.build((None, None, self.hidden_dim))
        self.blocks = []
        for index in range(self.num_layers):
            dense = keras.layers.Dense(
                self.hidden_dim, dtype=policy, name=f"block_{index}"
            )
            dense.build((None, None, self.hidden_dim))
            self.blocks.append(dense)
        self.pooling = Pooling("mean", dtype=policy)

    def fuse(self, inputs, masks, training):
        condition = self.projections[self.condition](inputs[self.condition])
        tokens = self.projections[self.modulated](inputs[self.modulated])
        parts = ops.split(
            ops.expand_dims(self.modulation(condition), 1), 2 * self.num_layers, axis=-1
        )
        for index, dense in enumerate(self.blocks):
            delta, beta = parts[2 * index], parts[2 * index + 1]
            normed = self.norm(dense(tokens))
            tokens = tokens + ops.relu((1.0 + delta) * normed + beta)
        return self.pooling(tokens, mask=masks[self.modulated])

    # === Config ===
    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "condition": self.condition,
            "num_layers": self.num_layers,
        }
