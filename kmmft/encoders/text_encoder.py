"""Any text backbone as an encoder with one contract."""

import pathlib

import keras
import tensorflow as tf
from keras import ops

from kmmft.encoders import handles, presets
from kmmft.encoders.checkpoint_files import is_dual_checkpoint
from kmmft.encoders.checkpoint_towers import Towers, load_towers
from kmmft.encoders.families import text_family
from kmmft.encoders.features import pooled_tokens, text_features
from kmmft.encoders.frozen_layers import FrozenInference, freeze_as_configured
from kmmft.encoders.saved_model import text_backbone
from kmmft.encoders.text_preprocessor import TextPreprocessor, check_length


@keras.saving.register_keras_serializable("kmmft")
class TextEncoder(FrozenInference, keras.Model):
    """Encodes texts as one pooled vector and a sequence of tokens.

    Owns its tokenizer: `preprocess` turns strings into the inputs. Padding never
    reaches the pooled vector, except where KerasHub's backbone attends to it: F-Net,
    ESM, RoFormerV2, and SigLIP, whose padding is part of the text.

    Args:
        backbone: A KerasHub text encoder backbone, `Seq2SeqEncoder`, or a
            functional `keras.Model` with inputs `token_ids` and `padding_mask`.
        tokenizer: The KerasHub tokenizer of that backbone. `None` if token ids come
            from elsewhere; `preprocess` is not to be had then.
        sequence_length: Length of the token ids that `preprocess` makes, special
            tokens included. The model itself takes any length, unless the backbone
            takes only one (SigLIP).
        pooling: `"cls"` (the first token), `"last"` (the last real token), `"mean"`,
            `"max"`, `"pooler"` (the backbone's own pooled output), or `None` for
            what the backbone's authors used.
        projection: Layer applied to the pooled vector, such as CLIP's projection
            into the shared space.
        pad_token_id: Id put in place of padding for backbones that take no mask.
            Defaults to the tokenizer's, else 0.
        packed_length: Puts several texts in rows of so many tokens while they are in
            the backbone, so that padding costs no time; the outputs stay the same.
            For BERT, RoBERTa, DistilBERT, ELECTRA and ALBERT; see `TextPacking`.
        keep: Which part of a text that is too long is kept: `"start"`, or `"end"`, as
            for a dialogue, whose last turns matter most.

    Call arguments:
        inputs: dict of `token_ids` int `(batch, length)` and `padding_mask` bool
            `(batch, length)`, True marks real tokens.

    Returns:
        dict of `pooled` float `(batch, output_dim)`, `tokens` float
        `(batch, length, dim)` and `mask` bool `(batch, length)`.

    Raises:
        ValueError: If `backbone` is no text encoder, or takes no text of
            `sequence_length`.

    Example:
        >>> import keras_hub
        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat"]
        >>> encoder = kmmft.encoders.TextEncoder(
        ...     keras_hub.models.BertBackbone(7, 1, 2, 8, 16),
        ...     keras_hub.models.BertTokenizer(words, lowercase=True),
        ...     sequence_length=6)
        >>> inputs = encoder.preprocess(["A cat", ""])
        >>> inputs["token_ids"].numpy()
        array([[2, 5, 6, 3, 0, 0],
               [2, 3, 0, 0, 0, 0]], dtype=int32)
        >>> encoder(inputs)["pooled"].shape
        TensorShape([2, 8])

    References:
        - [Devlin et al., 2018](https://arxiv.org/abs/1810.04805), sec. 3 (the class
          token as pooled vector).
    """

    preprocessor_class = TextPreprocessor

    def __init__(
        self,
        backbone: keras.Model,
        tokenizer: keras.layers.Layer | None,
        sequence_length: int,
        pooling: str | None = None,
        projection: keras.layers.Layer | None = None,
        pad_token_id: int | None = None,
        packed_length: int | None = None,
        keep: str = "start",
        name: str = "text_encoder",
        **kwargs,
    ):
        family = text_family(backbone)
        check_length(backbone, family, sequence_length)
        # === Functional model ===
        if pad_token_id is None:
            pad_token_id = getattr(tokenizer, "pad_token_id", None) or 0
        length = sequence_length if family.fixed_length else None
        inputs = {
            name: keras.Input((length,), dtype=dtype, name=name)
            for name, dtype in self.input_dtypes(backbone).items()
        }
        packing = {"pad_token_id": pad_token_id, "packed_length": packed_length}
        tokens, pooled = text_features(backbone, family, **inputs, **packing)
        mask = inputs["padding_mask"]
        pooling = pooling or ("pooler" if tokens is None else family.pooling)
        if pooling != "pooler" and tokens is not None:
            pooled = pooled_tokens(tokens, mask, pooling)
        elif pooled is None or pooling != "pooler":
            raise ValueError(
                f"`pooling` must be one that {type(backbone).__name__} can give. "
                f"Received: pooling={pooling!r}. Use pooling=None for its own"
            )
        if tokens is None:
            tokens = ops.expand_dims(pooled, 1)
            mask = ops.any(mask, axis=1, keepdims=True)
        if projection is not None:
            pooled = projection(pooled)
        outputs = {"pooled": pooled, "tokens": tokens, "mask": mask}
        super().__init__(inputs=inputs, outputs=outputs, name=name, **kwargs)
        # === Config ===
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.sequence_length = sequence_length
        self.pooling = pooling
        self.projection = projection
        self.pad_token_id = pad_token_id
        self.packed_length = packed_length
        self.keep = keep
        self.output_dim = pooled.shape[-1]
        self.family = family
        self.preprocessor = self.preprocessor_class(
            tokenizer, sequence_length, family, keep
        )

    def input_dtypes(self, backbone: keras.Model) -> dict[str, str]:
        """Dtypes of the inputs by name, for this backbone."""
        return {"token_ids": "int32", "padding_mask": "bool"}

    @classmethod
    def from_backbone(
        cls,
        backbone: keras.Model,
        tokenizer: keras.layers.Layer | None,
        sequence_length: int | None = None,
        **kwargs,
    ) -> "TextEncoder":
        """From a backbone, or from the text encoder inside a larger backbone.

        Args:
            backbone: As in the constructor, or a KerasHub `CLIPBackbone`,
                `SigLIPBackbone` or `MetaCLIP2Backbone` (its text tower is taken), or
                a `T5Backbone` or `BartBackbone` (its encoder is taken).
            tokenizer: As in the constructor.
            sequence_length: As in the constructor. Defaults to the longest that the
                backbone takes.
            **kwargs: Further arguments of `TextEncoder`. The towers of CLIP and
                MetaCLIP 2 come with their projection unless `projection` is given.
        """
        tower, projection = presets.text_tower(backbone)
        if sequence_length is None:
            sequence_length = getattr(tower, "max_sequence_length", None) or 512
        return cls(
            tower, tokenizer, sequence_length, **{"projection": projection, **kwargs}
        )

    @classmethod
    def from_preset(
        cls,
        handle: str,
        sequence_length: int | None = None,
        load_weights: bool = True,
        **kwargs,
    ) -> "TextEncoder":
        """From a pretrained model's name or directory.

        Args:
            handle: A KerasHub preset name, `hf://...`, `kaggle://...`, a local
                KerasHub preset or Hugging Face directory, or `"demo"`: the sentence
                encoder all-MiniLM-L6-v2, from a pip package. A SavedModel directory
                goes to `from_saved_model`, a CLIP or SigLIP of Hugging Face or
                open_clip to `from_checkpoint`.
            sequence_length: As in the constructor. Defaults to the longest that the
                backbone takes.
            load_weights: False gives the architecture with random weights.
            **kwargs: Further arguments of `TextEncoder`. `pooling` defaults to what
                a sentence-transformers directory says, else to the family's.

        Raises:
            ValueError: If there is no such model, or it is no text encoder.

        Example:
            >>> encoder = kmmft.encoders.TextEncoder.from_preset(
            ...     "demo", sequence_length=8, load_weights=False)
            >>> encoder.preprocess(["naïve Zürich"])["token_ids"].numpy()
            array([[  101, 15743, 10204,   102,     0,     0,     0,     0]],
                  dtype=int32)
        """
        if handles.is_saved_model(handle):
            if sequence_length is not None:
                kwargs["max_bytes"] = sequence_length
            return cls.from_saved_model(handle, **kwargs)
        if is_dual_checkpoint(handle):
            return cls.from_checkpoint(handle, sequence_length, **kwargs)
        backbone, tokenizer, pooling = presets.load_text_backbone(handle, load_weights)
        kwargs = {"pooling": pooling, **kwargs}
        return cls.from_backbone(backbone, tokenizer, sequence_length, **kwargs)

    @classmethod
    def from_checkpoint(
        cls, path: str | pathlib.Path, sequence_length: int | None = None, **kwargs
    ) -> "TextEncoder":
        """From the text tower of a CLIP or SigLIP of `transformers` or open_clip.

        Args:
            path: As in `kmmft.encoders.load_dual_checkpoint`.
            sequence_length: As in `from_backbone`.
            **kwargs: Further arguments of `TextEncoder`.

        Raises:
            ValueError: As in `kmmft.encoders.load_dual_checkpoint`.
        """
        return cls.from_towers(load_towers(path), sequence_length, **kwargs)

    @classmethod
    def from_towers(
        cls, towers: Towers, sequence_length: int | None = None, **kwargs
    ) -> "TextEncoder":
        """From a checkpoint that was read; see `from_checkpoint`."""
        kwargs = {"projection": towers.text_projection, **kwargs}
        text, tokenizer = towers.text, towers.tokenizer
        return cls.from_backbone(text, tokenizer, sequence_length, **kwargs)

    @classmethod
    def from_saved_model(
        cls,
        handle: str,
        max_bytes: int = 512,
        output_key: str | None = None,
        trainable: bool = True,
        **kwargs,
    ) -> "TextEncoder":
        """From a TensorFlow SavedModel that takes strings, such as TF Hub's.

        Strings cannot pass through Keras' `fit`, so the token ids are the text's
        UTF-8 bytes, and the model puts the strings together again.

        Args:
            handle: A SavedModel directory, a `https://tfhub.dev/...` address or
                `kaggle://owner/model/framework/variation/version`.
            max_bytes: Longer texts are cut at this many bytes.
            output_key: Key of the module's output, where it returns a dict.
            trainable: Whether the module's weights are trained.
            **kwargs: Further arguments of `TextEncoder`.

        Raises:
            ValueError: If `handle` leads to no SavedModel.
        """
        backbone, tokenizer = text_backbone(handle, output_key, trainable)
        return cls(backbone, tokenizer, max_bytes, **kwargs)

    def preprocess(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """Tokenises texts. Works in `tf.data` and in exported graphs.

        Args:
            texts: string tensor `(batch,)`. Empty strings are texts too.

        Returns:
            dict of `token_ids` int32 and `padding_mask` bool, `(batch, length)`.
        """
        if self.tokenizer is None:
            raise ValueError(
                "`preprocess` needs a tokenizer. Received: tokenizer=None. "
                "Give the encoder one when it is made"
            )
        return self.preprocessor(texts)

    def get_config(self) -> dict:
        return {
            "name": self.name,
            "trainable": self.trainable,
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "tokenizer": keras.saving.serialize_keras_object(self.tokenizer),
            "sequence_length": self.sequence_length,
            "pooling": self.pooling,
            "projection": keras.saving.serialize_keras_object(self.projection),
            "pad_token_id": self.pad_token_id,
            "packed_length": self.packed_length,
            "keep": self.keep,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        config = dict(config)
        for key in ("backbone", "tokenizer", "projection"):
            config[key] = keras.saving.deserialize_keras_object(
                config[key], custom_objects=custom_objects
            )
        return freeze_as_configured(cls(**config))
