"""A class for each word of a text: named entities, parts of speech."""

from collections.abc import Sequence

import keras
import tensorflow as tf
from keras import ops

from kmmft.encoders import ImageEncoder, TextEncoder
from kmmft.encoders.token_packer import TokenPacker
from kmmft.encoders.word_tokens import split_words
from kmmft.models.graph_cache import GraphCache
from kmmft.models.image_beside import (
    ImageBeside,
    check_equally_many,
    read_words,
    text_and_image,
)
from kmmft.models.raw_rows import check_batch_size
from kmmft.models.served_rows import ServedFunction, ServedRows
from kmmft.models.word_batches import WordBatches
from kmmft.models.word_training import WordTraining


@keras.saving.register_keras_serializable("kmmft")
class TokenClassifier(WordBatches, GraphCache, ImageBeside, WordTraining, keras.Model):
    """Encodes a sentence and predicts a tag for each of its words.

    With an `image_encoder`, sentences come with an image each: their tokens attend to
    the image's before the output layer (`kmmft.layers.TokenCrossAttention`).

    Each word is split into tokens of its own; the logits of its first token are those
    of the word, and the other tokens have no part in the loss. The training loss is the
    mean over all words of the global batch. A word behind the encoder's
    `sequence_length`, and one that the tokenizer drops, gets the first tag.

    Args:
        encoder: A `kmmft.encoders.TextEncoder` with a tokenizer.
        tag_names: Names of the tags in the order of their ids; the first is that of
            ordinary words, `O` for entities.
        dropout_rate: Dropout before the output layer, and where an image is read.
        image_encoder: A `kmmft.encoders.ImageEncoder`, or None for texts alone.
        num_layers: Layers in which the words read the image.
        num_heads: Attention heads of these. Must divide the text encoder's width.

    Call arguments:
        inputs: dict of `token_ids` and `padding_mask`, `(batch, length)`, and perhaps
            `image` float32 `(batch, height, width, 3)` in [0, 255].

    Returns:
        float32 tensor `(batch, length, num_tags)` of logits.

    Raises:
        ValueError: If `tag_names` are fewer than two or repeat, the encoder has no
            tokenizer, or `image_encoder` is none.

    Example:
        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "anna", "sings"]
        >>> model = kmmft.models.TokenClassifier(
        ...     kmmft.encoders.TextEncoder(
        ...         keras_hub.models.BertBackbone(7, 1, 2, 8, 16),
        ...         keras_hub.models.BertTokenizer(words, lowercase=True),
        ...         sequence_length=8),
        ...     tag_names=["O", "B-PER", "I-PER"])
        >>> [len(tags) for tags in model.tag([["Anna", "sings"], ["Anna"]])]
        [2, 1]

    References:
        - [Devlin et al., 2018](https://arxiv.org/abs/1810.04805), sec. 5.3.
        - [Yu et al., 2020](https://aclanthology.org/2020.acl-main.306), section 3:
          entities of texts with images.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        tag_names: Sequence[str],
        dropout_rate: float = 0.0,
        image_encoder: ImageEncoder | None = None,
        num_layers: int = 1,
        num_heads: int = 4,
        name: str = "token_classifier",
        **kwargs,
    ):
        names = list(tag_names)
        _check(encoder, names)
        encoders = text_and_image(encoder, image_encoder)
        # === Functional model ===
        inputs, x, _ = read_words(encoders, num_layers, num_heads, dropout_rate)
        x = keras.layers.Dropout(dropout_rate, name="output_dropout")(x)
        logits = keras.layers.Dense(len(names), dtype="float32", name="logits")(x)
        super().__init__(inputs=inputs, outputs=logits, name=name, **kwargs)
        # === Config ===
        self.encoders = encoders
        self.tag_names = names
        self.dropout_rate = dropout_rate
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.packer = TokenPacker(
            encoder.tokenizer, encoder.family, encoder.sequence_length
        )

    # === Use ===
    def tag(
        self,
        sentences: Sequence[Sequence[str]],
        batch_size: int = 32,
        images: Sequence[bytes] | None = None,
    ) -> list[list[str]]:
        """Tags sentences that are split into words.

        Args:
            sentences: The words of each; a word is no empty string.
            batch_size: How many sentences are run at a time.
            images: The encoded image of each, for a model with an image encoder.

        Returns:
            As many tags as words for each sentence.

        Raises:
            ValueError: If there is no sentence, one is not split into words, a word is
                empty, or images are missing or too many.
        """
        whole = [text for text in [sentences, *sentences] if isinstance(text, str)]
        if whole:
            raise ValueError(
                "Sentences must be split into words. Received: the text "
                f"{whole[0]!r:.60}. Give a list of words for each."
            )
        sentences = [list(words) for words in sentences]
        if not sentences or any("" in words for words in sentences):
            raise ValueError(
                "There must be a sentence, and no word may be empty. Received: "
                f"{len(sentences)} sentences, {sum('' in w for w in sentences)} with "
                "an empty word."
            )
        check_equally_many(images, len(sentences), "sentences")
        check_batch_size(batch_size)
        run = self._in_graph("tag", self.tag_words)
        found = []
        for start in range(0, len(sentences), batch_size):
            part = sentences[start : start + batch_size]
            image = images and tf.constant(images[start : start + batch_size])
            words = tf.ragged.constant(part, tf.string, ragged_rank=1)
            tags = run(words, image)["tags"]
            found += [
                [tag.decode() for tag in row[: len(words)]]
                for row, words in zip(tags.numpy(), part, strict=True)
            ]
        return found

    def tag_words(
        self, words: tf.RaggedTensor, image: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Tags words in a graph.

        Args:
            words: Ragged string tensor `(batch, None)`.
            image: Images, encoded `(batch,)` or decoded, if the model reads them.

        Returns:
            dict of `words` and `tags`, string `(batch, most_words)` filled up by empty
            strings, and `probabilities` of the tags, float32, by 0.
        """
        inputs, places = self.pack_words(words)
        inputs |= self.image_inputs(image)
        probabilities = ops.softmax(self(inputs, training=False))
        chosen = tf.gather(probabilities, tf.maximum(places, 0), batch_dims=1)
        known = places >= 0
        best = tf.where(known, tf.argmax(chosen, axis=-1), 0)
        real = tf.sequence_mask(words.row_lengths(), tf.shape(places)[1])
        return {
            "words": words.to_tensor(""),
            "tags": tf.where(real, tf.gather(tf.constant(self.tag_names), best), ""),
            "probabilities": tf.where(known, tf.reduce_max(chosen, axis=-1), 0.0),
        }

    def serve(
        self, text: tf.Tensor, image: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Splits texts into words and tags them, in a graph.

        Args:
            text: string tensor `(batch,)`.
            image: As for `tag_words`.

        Returns:
            As `tag_words`, with `starts` int64, the byte at which each word begins, -1
            where there is none.
        """
        text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8")
        words = split_words(text)
        tagged = self.tag_words(words.words, image)
        return {**tagged, "starts": words.starts.to_tensor(-1)}

    def serving_functions(self, **options) -> dict[str, ServedFunction]:
        """What an exported model can be asked, by the name of the signature.

        `serving_default`, also called `tag`, is `serve`. `tag_words` takes sentences
        whose words stand with a space between them, as training data have them. Both
        take `image`, too, if the model reads images.

        Args:
            **options: As for `ServedRows`.

        Returns:
            dict of functions of raw inputs.
        """
        rows = ServedRows(self, **options)
        spec = {"text": tf.TensorSpec([None], tf.string, name="text")}
        spec |= self.image_specs()

        def tag_words(text, **image):
            return self.tag_words(tf.strings.split(text), **image)

        served = rows(self.serve, spec)
        return {
            "serving_default": served,
            "tag": served,
            "tag_words": rows(tag_words, spec),
        }

    # === Config ===
    def get_config(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "trainable": self.trainable,
            "encoder": serialize(self.encoder),
            "tag_names": self.tag_names,
            "dropout_rate": self.dropout_rate,
            "image_encoder": serialize(self.image_encoder),
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        # Models that were saved before images could be read have no key for them.
        encoders = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects)
            for name in ("encoder", "image_encoder")
            if name in config
        }
        return cls(**{**config, **encoders})


def _check(encoder: TextEncoder, names: list[str]) -> None:
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(
            f"`tag_names` must be two or more different names. Received: {names}."
        )
    if encoder.tokenizer is None:
        raise ValueError(
            "A TokenClassifier splits words into tokens. Received: an encoder with "
            "tokenizer=None. Give the encoder one when it is made."
        )
