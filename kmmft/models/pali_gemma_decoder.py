"""PaliGemma's language model, which writes about encoded tokens."""

from collections.abc import Sequence

import keras
import keras_hub
from keras import ops

from kmmft.models.gemma_decoder import GemmaDecoder


@keras.saving.register_keras_serializable("kmmft")
class PaliGemmaDecoder(GemmaDecoder):
    """The Gemma of a PaliGemma backbone, without the image encoder's weights.

    It reads the context's tokens, each of which sees all others, and writes after
    them, where each word sees the context and what is before it. With the same
    backbone's image encoder and `kmmft.encoders.PromptEncoder`, whose tokens it reads
    as they are, it is the whole PaliGemma. What is padding in the context goes before
    everything else: as in pretraining, the text follows the prompt directly.

    The first word is written in the place of the context's last token, the prompt's
    line break. So a text's start token stands for that token: it is given, but its own
    vector is never read.

    Args:
        backbone: A `keras_hub.models.PaliGemmaBackbone` (PaliGemma 1 or 2).
        prompt_ids: Token ids that are read after the context: a prompt that is the
            same for all examples.

    Call arguments:
        token_ids: int tensor `(batch, length)`.
        context: float tensor `(batch, context_length, hidden_dim)`.
        context_mask: bool tensor `(batch, context_length)`, True marks real tokens.
        padding_mask: Not looked at: padding is behind all words.

    Returns:
        float32 tensor `(batch, length, vocabulary_size)`: logits of the next word.

    Raises:
        ValueError: If `backbone` is no PaliGemma.

    Example:
        >>> backbone = keras_hub.models.PaliGemmaBackbone(
        ...     50, 4, 1, 2, 1, 8, 16, 4, 2, 2, 8, 1, 16)
        >>> decoder = kmmft.models.PaliGemmaDecoder(backbone)
        >>> real = np.ones((2, 3), bool)
        >>> decoder(np.ones((2, 3), int), np.ones((2, 3, 8)), real, real).shape
        TensorShape([2, 3, 50])

    References:
        - [Beyer et al., 2024](https://arxiv.org/abs/2407.07726), section 3 and
          figure 2.
    """

    written = {"padding_mask": True, "response_mask": True}
    step_marks = ("padding_mask", "response_mask")

    def __init__(
        self,
        backbone: keras.Model,
        prompt_ids: Sequence[int] = (),
        name: str = "decoder",
        **kwargs,
    ):
        if not isinstance(backbone, keras_hub.models.PaliGemmaBackbone):
            raise ValueError(
                "`backbone` must be a keras_hub.models.PaliGemmaBackbone. Received: "
                f"{type(backbone).__name__}."
            )
        super().__init__(backbone, name=name, **kwargs)
        self.prompt_ids = list(prompt_ids)

    def _with_prompt(self, context, mask):
        end = ops.shape(context)[1]
        context, mask = self._insert(self.prompt_ids, end, context, mask)
        marks = {"padding_mask": mask, "response_mask": ops.zeros_like(mask)}
        return context, marks

    def _empty_cache(self, batch, width):
        return ops.zeros((batch, 2, width, *self._heads), self.compute_dtype)

    def get_config(self) -> dict:
        return {**super().get_config(), "prompt_ids": self.prompt_ids}
