"""What the language models of PaliGemma and of Gemma 3 have in common."""

import keras

from kmmft.encoders.prompt_encoder import scaled_words
from kmmft.models.prompted_decoder import PromptedDecoder


class GemmaDecoder(PromptedDecoder):
    """A Gemma behind a context: its blocks take the marks by name."""

    # No longest text: places are relative.
    max_length = None

    def __init__(self, backbone: keras.Model, **kwargs):
        super().__init__(**{"dtype": backbone.dtype_policy, **kwargs})
        self.vocabulary_size = backbone.vocabulary_size
        self.hidden_dim = backbone.hidden_dim
        self._heads = (backbone.num_key_value_heads, backbone.head_dim)
        # === Layers ===
        self.token_embedding = backbone.token_embedding
        self.blocks = backbone.transformer_layers
        self.norm = backbone.layer_norm
        # === Config ===
        self._keep_config(backbone)

    def _words(self, token_ids):
        return scaled_words(self.token_embedding, token_ids)

    def _run(self, x, marks):
        for block in self.blocks:
            x = block(x, **marks)
        return x

    def _cached_blocks(self, x, place, marks, cache):
        after = []
        for block, own in zip(self.blocks, cache, strict=True):
            x, own = block(x, cache=own, cache_update_index=place, **marks)
            after.append(own)
        return x, after
