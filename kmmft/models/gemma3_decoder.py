"""Gemma 3's language model, which writes about an image's tokens."""

from collections.abc import Sequence

import keras
import keras_hub
from keras import ops

from kmmft.models.gemma_decoder import GemmaDecoder


@keras.saving.register_keras_serializable("kmmft")
class Gemma3Decoder(GemmaDecoder):
    """The text model of a Gemma 3 backbone, without the image encoder's weights.

    It reads one image's tokens, each of which sees the others, and may read a text's
    behind them; all else is causal. The prompt's constant words stand around both.
    With the same backbone's image encoder and `kmmft.encoders.PromptEncoder`, whose
    tokens it reads as they are, it is the whole Gemma 3. What is padding in the context
    goes before everything else: the text follows the prompt directly.

    The first word is written in the place of the prompt's last token. So a text's start
    token stands for that token: it is given, but its own vector is never read.

    Args:
        backbone: A `keras_hub.models.Gemma3Backbone` with a vision encoder.
        before_image: Token ids that are read before the image.
        after_image: Token ids that are read between the image and the text.
        after_text: Token ids that are read behind all of the context.
        num_image_tokens: How many of the context's first tokens are the image's.
            Default: as many as the backbone's own images have.

    Call arguments:
        token_ids: int tensor `(batch, length)`.
        context: float tensor `(batch, context_length, hidden_dim)`.
        context_mask: bool tensor `(batch, context_length)`, True marks real tokens.
        padding_mask: Not looked at: padding is behind all words.

    Returns:
        float32 tensor `(batch, length, vocabulary_size)`: logits of the next word.

    Raises:
        ValueError: If `backbone` is no Gemma 3 that sees images.

    Example:
        >>> vision = keras_hub.models.Gemma3VisionEncoder(8, 2, 1, 8, 1, 8, 8, 2)
        >>> backbone = keras_hub.models.Gemma3Backbone(
        ...     50, 8, 1, 2, 1, 8, 16, 4, vision_encoder=vision)
        >>> decoder = kmmft.models.Gemma3Decoder(backbone, before_image=[2, 7])
        >>> real = np.ones((2, 5), bool)
        >>> decoder(np.ones((2, 3), int), np.ones((2, 5, 8)), real).shape
        TensorShape([2, 3, 50])

    References:
        - [Gemma Team, 2025](https://arxiv.org/abs/2503.19786), section 2.
    """

    # How its turns end; the tokenizer's own end token ends documents.
    end_piece = "<end_of_turn>"
    written = {"padding_mask": True, "vision_mask": False}
    step_marks = ("padding_mask",)

    def __init__(
        self,
        backbone: keras.Model,
        before_image: Sequence[int] = (),
        after_image: Sequence[int] = (),
        after_text: Sequence[int] = (),
        num_image_tokens: int | None = None,
        name: str = "decoder",
        **kwargs,
    ):
        check_sees_images(backbone)
        super().__init__(backbone, name=name, **kwargs)
        self.before_image = list(before_image)
        self.after_image = list(after_image)
        self.after_text = list(after_text)
        self.num_image_tokens = num_image_tokens or backbone.num_vision_tokens_per_image

    def _with_prompt(self, context, mask):
        count, start = self.num_image_tokens, len(self.before_image)
        # From the end, so that the places before it stay.
        for token_ids, place in (
            (self.after_text, ops.shape(context)[1]),
            (self.after_image, count),
            (self.before_image, 0),
        ):
            context, mask = self._insert(token_ids, place, context, mask)
        places = ops.arange(ops.shape(mask)[1])
        image = ops.logical_and(places >= start, places < start + count)
        image = ops.broadcast_to(image, ops.shape(mask))
        return context, {"padding_mask": mask, "vision_mask": image}

    def _empty_cache(self, batch, width):
        empty = ops.zeros((batch, width, *self._heads), self.compute_dtype)
        return empty, empty

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "before_image": self.before_image,
            "after_image": self.after_image,
            "after_text": self.after_text,
            "num_image_tokens": self.num_image_tokens,
        }


def check_sees_images(backbone: keras.Model) -> None:
    """Raises unless a backbone is a Gemma 3 with a vision encoder.

    Raises:
        ValueError: If it is another, or reads text alone.
    """
    if not isinstance(backbone, keras_hub.models.Gemma3Backbone):
        raise ValueError(
            "`backbone` must be a keras_hub.models.Gemma3Backbone. Received: "
            f"{type(backbone).__name__}."
        )
    if backbone.vision_encoder is None:
        raise ValueError(
            "A Gemma 3 that writes about images needs a vision encoder. Received: a "
            "Gemma3Backbone with vision_encoder=None. Take a preset that sees images, "
            "such as gemma3_instruct_4b, not one of text alone."
        )
