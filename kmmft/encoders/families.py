"""What differs between KerasHub's backbone families, in two tables.

A family says where a backbone keeps its tokens and its pooled vector, how its
authors pool, and what its inputs look like. Everything else is alike.
"""

import dataclasses
from collections.abc import Callable

import keras
import keras_hub
import tensorflow as tf
from keras import ops
from keras_hub.src.models.pali_gemma.pali_gemma_vit import PaliGemmaVit

from kmmft.encoders.prompt_encoder import PromptEncoder
from kmmft.encoders.qformer_encoder import QFormerEncoder
from kmmft.encoders.seq2seq_encoder import Seq2SeqEncoder

# Means and standard deviations in units of [0, 255].
IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
CLIP = (
    (122.7709383, 116.7460125, 104.09373615),
    (68.5005327, 66.6321579, 70.32316305),
)
HALF = (127.5, 127.5)  # to [-1, 1]
UNIT = (0.0, 255.0)  # to [0, 1]


@dataclasses.dataclass(frozen=True)
class ImageFamily:
    """How to read an image backbone.

    Attributes:
        pooling: The authors' pooling: `"cls"`, `"mean"` or `"pooler"`.
        normalisation: The authors' (mean, standard deviation), [0, 255] units.
        prefix_tokens: Number of class, distillation and register tokens that
            stand before the patch tokens.
        tokens_layer: Attribute of the layer whose output is the token sequence,
            where the backbone itself returns only a pooled vector.
    """

    pooling: str = "mean"
    normalisation: tuple = IMAGENET
    prefix_tokens: Callable[[keras.Model], int] = lambda backbone: 0
    tokens_layer: str | None = None


@dataclasses.dataclass(frozen=True)
class TextFamily:
    """How to read a text backbone and pack its tokens.

    Attributes:
        pooling: The authors' pooling: `"cls"`, `"last"`, `"mean"` or `"pooler"`.
        start: Whether the tokenizer's start token is put before the text.
        end_piece: Token that is put after the text, where that is not the tokenizer's
            end token; an empty text for none.
        separators: End tokens between two texts that are read together.
        clean: String operation before the tokenizer, or `None`.
        fixed_length: Whether the backbone takes only its full length.
        tokens_layer: As for images.
        mask: From a padding mask to what the backbone takes for one.
    """

    pooling: str = "cls"
    start: bool = True
    end_piece: str | None = None
    separators: int = 1
    clean: Callable[[tf.Tensor], tf.Tensor] | None = None
    fixed_length: bool = False
    tokens_layer: str | None = None
    mask: Callable[[keras.KerasTensor], keras.KerasTensor] = lambda mask: mask


def lower_letters(texts: tf.Tensor) -> tf.Tensor:
    """CLIP: each letter in lower case, without a look at its neighbours."""
    # Unicode's rule for words would write a last sigma in another way.
    return _lower(tf.strings.regex_replace(texts, "\u03a3", "\u03c3"))


def canonicalise(texts: tf.Tensor) -> tf.Tensor:
    """SigLIP: lower case, no ASCII punctuation, single spaces (big_vision)."""
    texts = tf.strings.regex_replace(_lower(texts), r"[[:punct:]]", "")
    # Python's white space; RE2's \s knows only five of them.
    spaces = r"[\s\p{Z}\x{85}\x{0b}\x{1c}-\x{1f}]+"
    return tf.strings.strip(tf.strings.regex_replace(texts, spaces, " "))


def clean_albert(texts: tf.Tensor) -> tf.Tensor:
    """ALBERT: plain quotation marks, no accents, lower case (`do_lower_case`)."""
    import tensorflow_text as tf_text  # slow, and loaded by KerasHub anyway

    texts = tf.strings.regex_replace(texts, "``|''", '"')
    texts = tf_text.normalize_utf8(texts, "NFKD")
    return lower_letters(tf.strings.regex_replace(texts, r"\p{M}+", ""))


def _lower(texts: tf.Tensor) -> tf.Tensor:
    # TensorFlow's op ends a text at the byte 0: one of Unicode's noncharacters goes
    # through it in its place.
    texts = tf.strings.regex_replace(texts, r"\x{00}", "\uffff")
    texts = tf.strings.lower(texts, encoding="utf-8")
    return tf.strings.regex_replace(texts, "\uffff", b"\0")


class _Transposed(keras.layers.Layer):
    """XLNet: KerasHub 0.32 reshapes the mask to (length, batch) where it means to
    transpose it, and so mixes up the batch. After this its reshape is a transpose."""

    def call(self, mask):
        return ops.reshape(ops.transpose(mask), ops.shape(mask))

    def compute_output_spec(self, mask):
        return keras.KerasTensor(mask.shape, dtype=mask.dtype)


def _registers_and_class(backbone: keras.Model) -> int:
    return 1 + backbone.num_register_tokens


_models = keras_hub.models
IMAGE_FAMILIES = {
    _models.ViTBackbone: ImageFamily(
        "cls", HALF, lambda backbone: int(backbone.use_class_token)
    ),
    # The class token comes first, then the distillation token.
    _models.DeiTBackbone: ImageFamily("cls", IMAGENET, lambda backbone: 2),
    _models.DINOV2Backbone: ImageFamily("cls", IMAGENET, _registers_and_class),
    _models.DINOV3Backbone: ImageFamily("cls", IMAGENET, _registers_and_class),
    _models.CLIPVisionEncoder: ImageFamily("cls", CLIP, lambda backbone: 1),
    _models.MetaCLIP2VisionEncoder: ImageFamily("cls", CLIP, lambda backbone: 1),
    _models.SigLIPVisionEncoder: ImageFamily(
        "pooler", HALF, tokens_layer="post_layer_norm"
    ),
    PaliGemmaVit: ImageFamily(normalisation=HALF),
    _models.Gemma3VisionEncoder: ImageFamily(normalisation=HALF),
    QFormerEncoder: ImageFamily(normalisation=CLIP),
    _models.SwinTransformerBackbone: ImageFamily(),
    _models.MiTBackbone: ImageFamily(),
    _models.ViTDetBackbone: ImageFamily(),
    _models.ResNetBackbone: ImageFamily(),
    _models.DenseNetBackbone: ImageFamily(),
    _models.CSPNetBackbone: ImageFamily(),
    _models.EfficientNetBackbone: ImageFamily(),
    _models.MobileNetBackbone: ImageFamily(),
    _models.MobileNetV5Backbone: ImageFamily(normalisation=UNIT),
    _models.HGNetV2Backbone: ImageFamily(),
    _models.VGGBackbone: ImageFamily(),
    _models.XceptionBackbone: ImageFamily(normalisation=HALF),
}
TEXT_FAMILIES = {
    _models.BertBackbone: TextFamily(),
    # XLMRobertaBackbone is a subclass.
    _models.RobertaBackbone: TextFamily(separators=2),
    _models.DistilBertBackbone: TextFamily(),
    _models.AlbertBackbone: TextFamily(clean=clean_albert),
    _models.DebertaV3Backbone: TextFamily(),
    _models.ElectraBackbone: TextFamily(),
    _models.FNetBackbone: TextFamily(),
    _models.ESMBackbone: TextFamily(),
    _models.RoformerV2Backbone: TextFamily(),
    _models.XLNetBackbone: TextFamily("mean", mask=lambda mask: _Transposed()(mask)),
    Seq2SeqEncoder: TextFamily("mean", start=False),
    PromptEncoder: TextFamily("mean"),
    _models.CLIPTextEncoder: TextFamily("last"),
    _models.MetaCLIP2TextEncoder: TextFamily("last"),
    _models.SigLIPTextEncoder: TextFamily(
        "pooler",
        start=False,
        clean=canonicalise,
        fixed_length=True,
        tokens_layer="post_layer_norm",
    ),
}


def image_family(backbone: keras.Model) -> ImageFamily:
    """The family of an image backbone.

    A model from outside KerasHub (`keras.applications`, an own network) is read
    as a feature map with mean pooling.

    Raises:
        ValueError: If `backbone` is a KerasHub model that is no image encoder.
    """
    return _find(backbone, IMAGE_FAMILIES, ImageFamily(), "an image")


def text_family(backbone: keras.Model) -> TextFamily:
    """The family of a text backbone.

    A model from outside KerasHub with inputs `token_ids` (and `padding_mask`) is
    read as a token sequence with mean pooling.

    Raises:
        ValueError: If `backbone` is a KerasHub model that is no text encoder.
    """
    family = _find(backbone, TEXT_FAMILIES, TextFamily("mean"), "a text")
    if isinstance(backbone, Seq2SeqEncoder) and backbone.uses_start_token:
        return dataclasses.replace(family, start=True, separators=2)  # BART
    if isinstance(backbone, PromptEncoder):
        return dataclasses.replace(family, clean=backbone.complete, **backbone.packing)
    return family


def _find(backbone, families, otherwise, kind):
    for backbone_class, family in families.items():
        if isinstance(backbone, backbone_class):
            return family
    if isinstance(backbone, keras_hub.models.Backbone) or not isinstance(
        backbone, keras.Model
    ):
        names = ", ".join(sorted(known.__name__ for known in families))
        raise ValueError(
            f"`backbone` must be {kind} encoder: one of {names}, or a functional "
            f"`keras.Model` from outside KerasHub. "
            f"Received: backbone of type {type(backbone).__name__}"
        )
    return otherwise
