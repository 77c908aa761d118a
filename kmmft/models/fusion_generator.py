"""Text written about any set of encoded modalities."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from kmmft.encoders.presets import load_text_backbone
from kmmft.models.generator_parts import check_parts, decoder_texts, to_width
from kmmft.models.pretrained_writer import writer_parts
from kmmft.models.raw_inputs import RawInputs, batch_inputs
from kmmft.models.shared_configs import sharing
from kmmft.models.text_generation import FUSED, TextGeneration, token_context
from kmmft.models.text_search import Greedy, TextSearch
from kmmft.models.word_training import WordTraining


@keras.saving.register_keras_serializable("kmmft")
class FusionGenerator(TextGeneration, RawInputs, WordTraining, keras.Model):
    """Encodes each modality and writes a text about them, word by word.

    The tokens of all encoders, each normalised and projected to the decoder's width,
    stand in one row, and the decoder reads them by cross-attention or as a prefix. With
    `fusion` the fused vector stands before them: what a small decoder would have to
    learn, such as comparing image and question, need not be learnt by it. A pretrained
    decoder reads its own encoder's tokens as they are (`from_preset`). The
    model is a functional Keras model: from the encoders' inputs and `target_token_ids`,
    the text so far, to the logits of each next word. The training loss is the mean
    over all words of the global batch: a long text counts more than a short one, and
    the number of replicas changes nothing.

    Args:
        encoders: Encoders by modality, as for `FusionClassifier`. One or more.
        decoder: `kmmft.models.CrossAttentionDecoder`; `PrefixDecoder` for a pretrained
            language model; `Bart`-, `T5`-, `PaliGemma`-, `Gemma3`-, `Blip2Opt`- or
            `Blip2T5Decoder`.
        tokenizer: The KerasHub tokenizer of the texts that are written, with as many
            words as the decoder (a few more or less for pretrained ones).
        max_length: Longest text in tokens, start and end included.
        target: Name of the text in the batch.
        search: How texts are chosen: `kmmft.models.Greedy()` (default), `BeamSearch`
            or `Sampling`.
        fusion: A fusion layer of `kmmft.layers`, or `None` for the tokens alone.
        read_directly: Modalities whose tokens the decoder reads without projection,
            since it was trained with that encoder.

    Call arguments:
        inputs: dict of the encoders' inputs, `target_token_ids` int `(batch, length)`
            and `target_padding_mask` bool `(batch, length)`.

    Returns:
        float32 tensor `(batch, length, words)`.

    Raises:
        ValueError: If there is no encoder, tokenizer and decoder differ in their number
            of words, texts of `max_length` are too long for the decoder, or tokens that
            are read directly are not as wide as it.

    Example:
        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "cat"]
        >>> backbone = keras_hub.models.ViTBackbone((32, 32, 3), 16, 1, 2, 8, 16)
        >>> model = kmmft.models.FusionGenerator(
        ...     {"image": kmmft.encoders.ImageEncoder(backbone)},
        ...     kmmft.models.CrossAttentionDecoder(8, 16, 1, 2, max_length=6),
        ...     keras_hub.tokenizers.BertTokenizer(words, lowercase=True),
        ...     max_length=6,
        ... )
        >>> png = tf.io.encode_png(tf.zeros((40, 40, 3), tf.uint8)).numpy()
        >>> texts = model.generate({"image": [png]})
        >>> len(texts), type(texts[0])
        (1, <class 'str'>)

    References:
        - [Vinyals et al., 2015](https://arxiv.org/abs/1411.4555), eq. 1-2.
    """

    missing_modalities = False
    accuracy_name = "word_accuracy"

    def __init__(
        self,
        encoders: Mapping[str, keras.Model],
        decoder: keras.layers.Layer,
        tokenizer: keras.layers.Layer,
        max_length: int,
        target: str = "caption",
        search: TextSearch | None = None,
        fusion: keras.layers.Layer | None = None,
        read_directly: Sequence[str] = (),
        name: str = "fusion_generator",
        **kwargs,
    ):
        encoders = dict(encoders)
        texts = decoder_texts(decoder, tokenizer, max_length)
        check_parts(encoders, decoder, texts, target, read_directly)
        # === Layers ===
        names = [*encoders, *([FUSED] if fusion else [])]
        projections = {
            name: to_width(decoder.hidden_dim, decoder.dtype_policy, name)
            for name in names
            if name not in read_directly
        }
        # === Functional model ===
        inputs = batch_inputs(encoders)
        context, context_mask = token_context(encoders, projections, inputs, fusion)
        for key, dtype in (("token_ids", "int32"), ("padding_mask", "bool")):
            inputs[f"target_{key}"] = keras.Input(
                (max_length - 1,), dtype=dtype, name=f"target_{key}"
            )
        logits = decoder(
            inputs["target_token_ids"],
            context,
            context_mask,
            inputs["target_padding_mask"],
        )
        super().__init__(inputs=inputs, outputs=logits, name=name, **kwargs)
        # === Config ===
        self.encoders = encoders
        self.projections = projections
        self.decoder = decoder
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.target = target
        self.search = search or Greedy()
        self.fusion = fusion
        self.read_directly = list(read_directly)
        self._texts = texts

    @classmethod
    def from_preset(
        cls,
        handle: str,
        sequence_length: int,
        max_length: int,
        load_weights: bool = True,
        **kwargs,
    ) -> "FusionGenerator":
        """A pretrained BART or T5 (`text` to text), PaliGemma, Gemma 3 or BLIP-2.

        Args:
            handle: As in `kmmft.encoders.TextEncoder.from_preset`.
            sequence_length: Longest text or prompt that is read, in tokens.
            max_length: Longest text that is written, likewise.
            load_weights: False gives the architecture with random weights.
            **kwargs: Further arguments of `from_backbone`.

        Raises:
            ValueError: If there is none, or `from_backbone` does not take it.

        Example::

            model = kmmft.models.FusionGenerator.from_preset("bart_base_en", 128, 32)
            model = kmmft.models.FusionGenerator.from_preset(
                "pali_gemma_3b_224", 32, 16, prompt="answer en {question}"
            )
        """
        parts = load_text_backbone(handle, load_weights)[:2]
        return cls.from_backbone(*parts, sequence_length, max_length, **kwargs)

    @classmethod
    def from_backbone(
        cls,
        backbone: keras.Model,
        tokenizer: keras.layers.Layer,
        sequence_length: int,
        max_length: int,
        keep: str = "start",
        prompt: str | None = None,
        image_size: int | None = None,
        **kwargs,
    ) -> "FusionGenerator":
        """As `from_preset`, of a backbone: its parts, which are read as they are.

        Args:
            backbone: KerasHub's BART, T5, PaliGemma, Gemma 3 or BLIP-2 (that see
                images).
            tokenizer: Its own.
            sequence_length, max_length: As in `from_preset`.
            keep: Which part of a text that is too long is read; see `TextEncoder`.
            prompt: Read beside an image, with at most one name of a text in the batch:
                `"answer en {question}"`. Of a Gemma 3 it is the user's turn, unless it
                has `<start_of_image>` where the image stands: then it is all. A
                BLIP-2 needs none: `"Question: {question} Answer:"`.
            image_size: Side of their images. Default: the backbone's own.
            **kwargs: Further arguments of `FusionGenerator`.

        Raises:
            ValueError: If it is another backbone, or these do not suit it.
        """
        options = (tokenizer, sequence_length, keep, prompt, image_size)
        parts = writer_parts(backbone, *options)
        return cls(**{**parts, **kwargs}, tokenizer=tokenizer, max_length=max_length)

    # === Training ===
    def prepare_batch(
        self, batch: Mapping[str, tf.Tensor], keep_records: bool = False
    ) -> tuple | dict[str, tf.Tensor]:
        """Makes what `fit` takes: a `batch_preprocess` for `build_dataset`.

        Args:
            batch: Batch of decoded records, with the strings `target`.
            keep_records: Whether to return the records beside the encoders' inputs, in
                one dict, for `generate_batch`.

        Returns:
            `(inputs, words, weights)`: each place's next word, and 0 for padding. Or a
            dict.
        """
        inputs = self.preprocess({name: batch[name] for name in self.encoders})
        if keep_records:
            return {**batch, **inputs}
        return self.teach(inputs, batch[self.target])

    def teach(
        self, inputs: Mapping[str, tf.Tensor], texts: tf.Tensor
    ) -> tuple[dict, tf.Tensor, tf.Tensor]:
        """Adds the texts that are to be written to the encoders' inputs.

        Args:
            inputs: The encoders' inputs.
            texts: string tensor `(batch,)`.

        Returns:
            As `prepare_batch`.
        """
        token_ids, mask = self._texts.pack(texts)
        # Nothing is learnt about start tokens, which are always given.
        given = len(self._texts.start_tokens)
        weights = tf.cast(mask & (tf.range(self.max_length) >= given), tf.float32)
        inputs = {
            **inputs,
            "target_token_ids": token_ids[:, :-1],
            "target_padding_mask": mask[:, :-1],
        }
        return inputs, token_ids[:, 1:], weights[:, 1:]

    # === Config ===
    def get_config(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        # A tokenizer that an encoder has, too, is told by that encoder's name.
        owners = [
            modality
            for modality, encoder in self.encoders.items()
            if getattr(encoder, "tokenizer", None) is self.tokenizer
        ]
        return {
            "name": self.name,
            "trainable": self.trainable,
            # A list of pairs: dicts come back from JSON in another order.
            "encoders": [
                [modality, serialize(encoder)]
                for modality, encoder in self.encoders.items()
            ],
            "decoder": serialize(self.decoder),
            "tokenizer": owners[0] if owners else serialize(self.tokenizer),
            "max_length": self.max_length,
            "target": self.target,
            "search": serialize(self.search),
            "fusion": serialize(self.fusion),
            "read_directly": self.read_directly,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        def deserialize(value):
            return keras.saving.deserialize_keras_object(value, custom_objects)

        config = dict(config)
        # Encoder and decoder may be halves of one backbone.
        with sharing():
            config["encoders"] = {
                modality: deserialize(encoder)
                for modality, encoder in config["encoders"]
            }
            for key in ("decoder", "tokenizer", "search", "fusion"):
                value = config.get(key)  # files of before know no fusion
                owner = config["encoders"].get(str(value))
                config[key] = owner.tokenizer if owner else deserialize(value)
        return cls(**config)
