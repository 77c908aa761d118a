"""Any text backbone, reading two texts together."""

import keras
import tensorflow as tf

from kmmft.encoders.families import TextFamily
from kmmft.encoders.text_encoder import TextEncoder
from kmmft.encoders.text_preprocessor import TextPreprocessor
from kmmft.encoders.token_packer import TokenPacker


class TextPairPreprocessor(TextPreprocessor):
    """Tokenises pairs of strings inside a graph.

    Args:
        tokenizer: As for `TextPreprocessor`, and so are the others.
    """

    RAW_SHAPE = (None, 2)
    RAW_NAME = "pairs of strings, shape (batch, 2)"

    def __init__(
        self,
        tokenizer: keras.layers.Layer,
        sequence_length: int,
        family: TextFamily,
        keep: str = "start",
    ):
        if keep != "start":
            raise ValueError(
                "Pairs of texts lose the end of the longer one. "
                f"Received: keep={keep!r}. Leave it out."
            )
        super().__init__(tokenizer, sequence_length, family)
        self.packer = TokenPacker(tokenizer, family, sequence_length)

    def _tokenise_batch(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        pairs = self.packer.trim(self.tokens(texts[:, 0]), self.tokens(texts[:, 1]))
        names = ("token_ids", "padding_mask", "segment_ids")
        return self.packer.pack(*pairs).inputs(names)


@keras.saving.register_keras_serializable("kmmft")
class TextPairEncoder(TextEncoder):
    """Encodes pairs of texts, such as premise and hypothesis, each pair as one row.

    The tokens of both texts attend to each other (a cross-encoder), with the special
    tokens between them and the segment ids of the backbone's authors. A raw example
    is two strings, `(batch, 2)`. Of a pair that is too long the longer text loses its
    end first.

    Args:
        backbone: As for `TextEncoder`, and so are the others.

    Call arguments:
        inputs: dict of `token_ids`, `padding_mask` and, for backbones that know
            segments, `segment_ids`, int or bool `(batch, length)`.

    Returns:
        As `TextEncoder`.

    Example:
        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat"]
        >>> encoder = kmmft.encoders.TextPairEncoder(
        ...     keras_hub.models.BertBackbone(7, 1, 2, 8, 16),
        ...     keras_hub.models.BertTokenizer(words, lowercase=True),
        ...     sequence_length=8)
        >>> inputs = encoder.preprocess([["A cat", "cat"]])
        >>> inputs["token_ids"].numpy(), inputs["segment_ids"].numpy()
        (array([[2, 5, 6, 3, 6, 3, 0, 0]], dtype=int32),
         array([[0, 0, 0, 0, 1, 1, 0, 0]], dtype=int32))

    References:
        - [Devlin et al., 2018](https://arxiv.org/abs/1810.04805), sec. 3, fig. 1.
    """

    raw_rank = 1
    preprocessor_class = TextPairPreprocessor

    def input_dtypes(self, backbone: keras.Model) -> dict[str, str]:
        dtypes = super().input_dtypes(backbone)
        known = "segment_ids" in backbone.input
        return {**dtypes, "segment_ids": "int32"} if known else dtypes

    def preprocess(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """Tokenises pairs of texts. Works in `tf.data` and in exported graphs.

        Args:
            texts: string tensor `(batch, 2)`.

        Returns:
            dict of tensors `(batch, sequence_length)`, the inputs of the model.
        """
        packed = super().preprocess(texts)
        return {name: packed[name] for name in self.input}
