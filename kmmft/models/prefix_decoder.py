"""A language model that continues encoded tokens as if they were words."""

import keras
import keras_hub
import tensorflow as tf
from keras import ops

from kmmft.encoders.frozen_layers import freeze_as_configured
from kmmft.models.cached_blocks import cached_blocks


@keras.saving.register_keras_serializable("kmmft")
class PrefixDecoder(keras.layers.Layer):
    """A KerasHub GPT-2 with the context's tokens before the text's.

    Use it to start from a pretrained language model: the encoders' tokens, projected
    to its width, take the first places, and the text follows. Padded places never
    count. Context and text together must fit into the backbone's longest sequence.

    Args:
        backbone: A `keras_hub.models.GPT2Backbone`.

    Call arguments:
        token_ids: int tensor `(batch, length)`.
        context: float tensor `(batch, context_length, hidden_dim)`.
        context_mask: bool tensor `(batch, context_length)`, True marks real tokens.
        padding_mask: bool tensor `(batch, length)`, True marks real tokens.

    Returns:
        float32 tensor `(batch, length, vocabulary_size)`: logits of the next word.

    Raises:
        ValueError: If `backbone` is no GPT-2, or the sequence is too long for it.

    Example:
        >>> backbone = keras_hub.models.GPT2Backbone(50, 1, 2, 8, 16)
        >>> decoder = kmmft.models.PrefixDecoder(backbone)
        >>> real = np.ones((2, 3), bool)
        >>> decoder(np.ones((2, 3), int), np.ones((2, 3, 8)), real, real).shape
        TensorShape([2, 3, 50])

    References:
        - [Radford et al., 2019](https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf).
        - [Mokady et al., 2021](https://arxiv.org/abs/2111.09734) (ClipCap: a prefix
          of projected image features).
    """

    # Its blocks have depths, as an encoder's; see `kmmft.finetuning.layer_depths`.
    pretrained = True

    def __init__(self, backbone: keras.Model, name: str = "decoder", **kwargs):
        super().__init__(name=name, **kwargs)
        if not isinstance(backbone, keras_hub.models.GPT2Backbone):
            raise ValueError(
                "`backbone` must be a keras_hub.models.GPT2Backbone. Received: "
                f"{type(backbone).__name__}."
            )
        self.backbone = backbone
        self.vocabulary_size = backbone.vocabulary_size
        self.hidden_dim = backbone.hidden_dim
        self.max_length = backbone.max_sequence_length

    @classmethod
    def from_preset(cls, handle: str, load_weights: bool = True) -> "PrefixDecoder":
        """From a GPT-2 of KerasHub.

        Args:
            handle: Preset name such as `gpt2_base_en`, or a local preset directory.
            load_weights: False gives the architecture with random weights.
        """
        return cls(
            keras_hub.models.GPT2Backbone.from_preset(handle, load_weights=load_weights)
        )

    def build(self, token_ids_shape, context_shape=None, *_):
        places = (token_ids_shape[1] or 0) + ((context_shape or (0, 0))[1] or 0)
        if places > self.max_length:
            raise ValueError(
                f"Context and text must fit into the backbone's {self.max_length} "
                f"places. Received: {places} tokens. Shorten the text, or take an "
                "encoder with fewer tokens."
            )

    def call(self, token_ids, context, context_mask, padding_mask=None, training=None):
        if padding_mask is None:
            padding_mask = ops.ones_like(token_ids, dtype="bool")
        words = self.backbone.token_embedding(token_ids)
        x = self._embed(ops.concatenate([context, words], axis=1), 0, training)
        mask = ops.concatenate([context_mask, padding_mask], axis=1)
        for block in self.backbone.transformer_layers:
            x = block(x, decoder_padding_mask=mask, training=training)
        return self._logits(x[:, ops.shape(context)[1] :])

    def begin(
        self, context: tf.Tensor, context_mask: tf.Tensor, length: int
    ) -> tuple[dict, list[tf.Tensor]]:
        """As `CrossAttentionDecoder.begin`; the cache holds the context already."""
        batch, width = ops.shape(context)[0], ops.shape(context)[1]
        backbone = self.backbone
        heads = (backbone.num_heads, self.hidden_dim // backbone.num_heads)
        empty = ops.zeros((batch, 2, width + length, *heads), self.compute_dtype)
        # What is not written yet is hidden by the causal mask.
        rest = ops.ones((batch, length), "bool")
        mask = ops.concatenate([context_mask, rest], axis=1)
        cache = [empty] * len(backbone.transformer_layers)
        _, cache = self._run(context, 0, mask, cache)
        memory = {"mask": mask, "width": ops.ones((batch,), "int32") * width}
        return memory, cache

    def step(
        self, token_ids: tf.Tensor, index: tf.Tensor, memory: dict, cache: list
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """As `CrossAttentionDecoder.step`."""
        words = self.backbone.token_embedding(token_ids)
        place = memory["width"][0] + index
        x, cache = self._run(words, place, memory["mask"], cache)
        return self._logits(x)[:, 0], cache

    def _run(self, x, place, mask, cache):
        x = self._embed(x, place, training=False)
        return cached_blocks(self.backbone.transformer_layers, x, place, mask, cache)

    def _embed(self, x, place, training):
        positions = self.backbone.position_embedding(x, start_index=place)
        x = self.backbone.embeddings_add((x, positions))
        return self.backbone.embeddings_dropout(x, training=training)

    def _logits(self, x):
        x = self.backbone.token_embedding(self.backbone.layer_norm(x), reverse=True)
        return ops.cast(x, "float32")

    def compute_output_shape(self, token_ids_shape, *_, **__):
        return (*token_ids_shape, self.vocabulary_size)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "backbone": keras.saving.serialize_keras_object(self.backbone),
        }

    @classmethod
    def from_config(cls, config: dict):
        backbone = keras.saving.deserialize_keras_object(config["backbone"])
        return freeze_as_configured(cls(**{**config, "backbone": backbone}))
