"""Transformer fusion: self-attention over all modalities, or through a bottleneck."""

import keras
from keras import ops

from kmmft.layers.attention_block import AttentionBlock
from kmmft.layers.fusion import Fusion


@keras.saving.register_keras_serializable("kmmft")
class TransformerFusion(Fusion):
    """Runs a transformer over the tokens of all modalities.

    Every modality's tokens get a modality embedding and a learnt class token. With
    `num_bottleneck_tokens=0` all tokens attend to all (merged attention): the most
    flexible fusion, at a cost that grows with the square of the total length. With
    more (MBT), each modality has its own blocks and attends to itself and to the
    shared bottleneck tokens, whose updates are averaged over modalities after each
    layer: cheaper on long inputs, and a regulariser. The mean of the normed class
    tokens is returned.

    Args:
        hidden_dim: Width of the blocks and of the output.
        num_layers: Number of pre-norm transformer blocks.
        num_heads: Number of attention heads. Must divide `hidden_dim`.
        num_bottleneck_tokens: Number of bottleneck tokens; 0 merges attention. The
            paper uses 4.
        **kwargs: See `Fusion`. `dropout_rate` acts inside the blocks as well.

    Call arguments:
        features: dict, modality name to encoder output; reads `tokens`.
        present: optional dict, modality name to bool tensor `(batch,)`.

    Returns:
        float tensor `(batch, hidden_dim)`.

    Raises:
        ValueError: If `num_heads` does not divide `hidden_dim`, or a bottleneck has
            fewer than two layers.

    Example:
        >>> features = {"image": {"tokens": np.ones((2, 9, 6))},
        ...             "text": {"tokens": np.ones((2, 3, 4))}}
        >>> kmmft.layers.TransformerFusion(8, num_layers=1, num_heads=2)(features).shape
        TensorShape([2, 8])

    References:
        - [Nagrani et al., 2021](https://arxiv.org/abs/2107.00135), eqs. 8-9;
          the class tokens' average stands for the paper's averaged logits.
        - [Kim et al., 2021](https://arxiv.org/abs/2102.03334), ViLT, eqs. 1-3
          (merged attention with modality embeddings).
    """

    def __init__(
        self,
        hidden_dim: int,
        num_layers: int = 2,
        num_heads: int = 8,
        num_bottleneck_tokens: int = 0,
        **kwargs,
    ):
        super().__init__(hidden_dim, **kwargs)
        if num_bottleneck_tokens < 0:
            raise ValueError(
                "`num_bottleneck_tokens` must not be negative. Received: "
                f"num_bottleneck_tokens={num_bottleneck_tokens}"
            )
        # What a layer writes into the bottleneck is read by the next one.
        least = 2 if num_bottleneck_tokens else 1
        if num_layers < least:
            raise ValueError(
                f"`num_layers` must be at least {least}, so that the modalities "
                f"meet. Received: num_layers={num_layers}, "
                f"num_bottleneck_tokens={num_bottleneck_tokens}"
            )
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.num_bottleneck_tokens = num_bottleneck_tokens

    def source(self, modality: str) -> str:
        return "tokens"

    def build(self, features_shape):
        super().build(features_shape)
        # === Layers ===
        self.class_tokens = self._add_tokens("class_tokens", len(self.modalities))
        self.modality_embeddings = self._add_tokens(
            "modality_embeddings", len(self.modalities)
        )
        streams = ("merged",)
        if self.num_bottleneck_tokens:
            streams = self.modalities
            self.bottleneck_tokens = self._add_tokens(
                "bottleneck_tokens", self.num_bottleneck_tokens
            )
        # Flat, with the name as key: Keras does not save layers in nested lists.
        self.blocks = {}
        for index in range(self.num_layers):
            for stream in streams:
                block = AttentionBlock(
                    self.num_heads,
                    self.dropout_rate,
                    dtype=self.dtype_policy,
                    name=f"{stream}_block_{index}",
                )
                block.build((None, None, self.hidden_dim))
                self.blocks[block.name] = block
        self.norm = keras.layers.LayerNormalization(
            epsilon=1e-6, dtype=self.dtype_policy, name="norm"
        )
        self.norm.build((None, None, self.hidden_dim))

    def _add_tokens(self, name: str, number: int):
        return self.add_weight(
            shape=(number, self.hidden_dim),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name=name,
        )

    def fuse(self, inputs, masks, training):
        streams, stream_masks = {}, {}
        for index, name in enumerate(self.modalities):
            tokens = self.projections[name](inputs[name])
            batch = ops.shape(tokens)[0]
            class_token = _tile(self.class_tokens[index : index + 1], batch)
            tokens = ops.concatenate([class_token, tokens], axis=1)
            streams[name] = tokens + self.modality_embeddings[index]
            stream_masks[name] = _prepend_true(masks[name], 1)
        attend = self._bottleneck if self.num_bottleneck_tokens else self._merged
        class_tokens = attend(streams, stream_masks, training)
        return ops.mean(self.norm(class_tokens), axis=1)

    def _merged(self, streams: dict, masks: dict, training):
        x = ops.concatenate([streams[name] for name in self.modalities], axis=1)
        mask = ops.concatenate([masks[name] for name in self.modalities], axis=1)
        for index in range(self.num_layers):
            x = self.blocks[f"merged_block_{index}"](
                x, key_mask=mask, training=training
            )
        class_tokens, start = [], 0
        for name in self.modalities:
            class_tokens.append(x[:, start : start + 1])
            start += ops.shape(streams[name])[1]
        return ops.concatenate(class_tokens, axis=1)

    def _bottleneck(self, streams: dict, masks: dict, training):
        number = self.num_bottleneck_tokens
        batch = ops.shape(streams[self.modalities[0]])[0]
        bottleneck = _tile(self.bottleneck_tokens, batch)
        for index in range(self.num_layers):
            updates = []
            for name in self.modalities:
                x = self.blocks[f"{name}_block_{index}"](
                    ops.concatenate([bottleneck, streams[name]], axis=1),
                    key_mask=_prepend_true(masks[name], number),
                    training=training,
                )
                updates.append(x[:, :number])
                streams[name] = x[:, number:]
            bottleneck = sum(updates) / len(updates)
        first = [streams[name][:, :1] for name in self.modalities]
        return ops.concatenate(first, axis=1)

    # === Config ===
    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "num_bottleneck_tokens": self.num_bottleneck_tokens,
        }


def _tile(tokens, batch):
    """`(number, dim)` to `(batch, number, dim)`."""
    tokens = ops.convert_to_tensor(tokens)
    return ops.broadcast_to(tokens[None], (batch, *tokens.shape))


def _prepend_true(mask, number: int):
    """Widens a mask by places that may always be attended to."""
    return ops.pad(mask, ((0, 0), (number, 0)), constant_values=True)
