"""Cross-attention: tokens of one modality look at those of the others."""

import keras
from keras import ops

from kmmft.layers.attention_block import AttentionBlock
from kmmft.layers.fusion import Fusion, check_positive
from kmmft.layers.pooling import Pooling


@keras.saving.register_keras_serializable("kmmft")
class CrossAttentionFusion(Fusion):
    """Lets the tokens of one modality, or of each, attend to the others.

    Use it where single words and regions must find each other. One way: the
    `query` modality's tokens attend to all tokens of the others. Both ways
    (`query=None`): every modality attends to the others at once, each with weights
    of its own (co-attention). A layer is a pre-norm cross-attention block, then a
    pre-norm self-attention block. The mean of the query's real tokens is returned;
    both ways, one dense layer mixes the means of all modalities.

    Args:
        hidden_dim: Width of the blocks and of the output.
        query: Name of the modality that attends; `None` for all of them.
        num_layers: Number of layers.
        num_heads: Number of attention heads. Must divide `hidden_dim`.
        **kwargs: See `Fusion`. `dropout_rate` acts inside the blocks as well.

    Call arguments:
        features: dict, modality name to encoder output; reads `tokens`. At least
            two modalities.
        present: optional dict, modality name to bool tensor `(batch,)`.

    Returns:
        float tensor `(batch, hidden_dim)`.

    Raises:
        ValueError: If there are fewer than two modalities, `query` is none of
            them, or `num_heads` does not divide `hidden_dim`.

    Example:
        >>> features = {"image": {"tokens": np.ones((2, 9, 6))},
        ...             "question": {"tokens": np.ones((2, 3, 4))}}
        >>> fusion = kmmft.layers.CrossAttentionFusion(8, "question", num_heads=2)
        >>> fusion(features).shape
        TensorShape([2, 8])

    References:
        - [Lu et al., 2019](https://arxiv.org/abs/1908.02265), ViLBERT, section 2.2:
          co-attention, then a transformer layer in each stream.
        - [Tan and Bansal, 2019](https://arxiv.org/abs/1908.07490), LXMERT,
          section 2.2.
    """

    min_modalities = 2
    roles = ("query",)

    def __init__(
        self,
        hidden_dim: int,
        query: str | None = None,
        num_layers: int = 1,
        num_heads: int = 8,
        **kwargs,
    ):
        super().__init__(hidden_dim, **kwargs)
        check_positive("num_layers", num_layers)
        self.query = query
        self.num_layers = num_layers
        self.num_heads = num_heads

    def source(self, modality: str) -> str:
        return "tokens"

    def build(self, features_shape):
        super().build(features_shape)
        self.streams = self.modalities if self.query is None else (self.query,)
        # === Layers ===
        policy = self.dtype_policy
        # Flat, with the name as key: Keras does not save layers in nested lists.
        self.blocks = {}
        self.norms = {}
        for name in self.streams:
            for index in range(self.num_layers):
                self._add_block(f"{name}_cross_{index}", cross=True)
                self._add_block(f"{name}_self_{index}", cross=False)
            self.norms[name] = keras.layers.LayerNormalization(
                epsilon=1e-6, dtype=policy, name=f"{name}_norm"
            )
            self.norms[name].build((None, None, self.hidden_dim))
        self.pooling = Pooling("mean", dtype=policy)
        if self.query is None:
            self.mix = keras.layers.Dense(self.hidden_dim, dtype=policy, name="mix")
            self.mix.build((None, len(self.streams) * self.hidden_dim))

    def _add_block(self, name: str, cross: bool):
        self.blocks[name] = AttentionBlock(
            self.num_heads,
            self.dropout_rate,
            cross=cross,
            dtype=self.dtype_policy,
            name=name,
        )
        self.blocks[name].build((None, None, self.hidden_dim))

    def fuse(self, inputs, masks, training):
        tokens = {name: self.projections[name](inputs[name]) for name in inputs}
        for index in range(self.num_layers):
            # All streams read the layer below, so that none comes first.
            updated = dict(tokens)
            for name in self.streams:
                others = [other for other in self.modalities if other != name]
                x = self.blocks[f"{name}_cross_{index}"](
                    tokens[name],
                    context=ops.concatenate([tokens[o] for o in others], axis=1),
                    key_mask=ops.concatenate([masks[o] for o in others], axis=1),
                    training=training,
                )
                updated[name] = self.blocks[f"{name}_self_{index}"](
                    x, key_mask=masks[name], training=training
                )
            tokens = updated
        pooled = [
            self.pooling(self.norms[name](tokens[name]), mask=masks[name])
            for name in self.streams
        ]
        if self.query is not None:
            return pooled[0]
        return self.mix(ops.concatenate(pooled, axis=-1))

    # === Config ===
    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "query": self.query,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
        }
