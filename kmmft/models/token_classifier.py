"""A class for each word of a text: named entities, parts of speech."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf
from keras import ops

from kmmft.encoders import TextEncoder
from kmmft.encoders.token_packer import TokenPacker
from kmmft.encoders.word_tokens import in_a_row, split_words, word_tokens
from kmmft.models.graph_cache import GraphCache
from kmmft.models.raw_inputs import RawInputs
from kmmft.models.served_rows import ServedFunction, ServedRows
from kmmft.models.word_training import WordTraining


@keras.saving.register_keras_serializable("kmmft")
class TokenClassifier(GraphCache, RawInputs, WordTraining, keras.Model):
    """Encodes a sentence and predicts a tag for each of its words.

    Each word is split into tokens of its own; the logits of its first token are those
    of the word, and the other tokens have no part in the loss. The training loss is the
    mean over all words of the global batch. A word behind the encoder's
    `sequence_length`, and one that the tokenizer drops, gets the first tag.

    Args:
        encoder: A `kmmft.encoders.TextEncoder` with a tokenizer.
        tag_names: Names of the tags in the order of their ids; the first is that of
            ordinary words, `O` for entities.
        dropout_rate: Dropout before the output layer.

    Call arguments:
        inputs: dict of `token_ids` and `padding_mask`, `(batch, length)`.

    Returns:
        float32 tensor `(batch, length, num_tags)` of logits.

    Raises:
        ValueError: If `tag_names` are fewer than two or repeat, or the encoder has no
            tokenizer.

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
    """

    missing_modalities = False

    def __init__(
        self,
        encoder: TextEncoder,
        tag_names: Sequence[str],
        dropout_rate: float = 0.0,
        name: str = "token_classifier",
        **kwargs,
    ):
        names = list(tag_names)
        _check(encoder, names)
        # === Functional model ===
        inputs = {
            key: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=key)
            for key, tensor in encoder.input.items()
        }
        x = encoder(inputs)["tokens"]
        x = keras.layers.Dropout(dropout_rate, name="output_dropout")(x)
        logits = keras.layers.Dense(len(names), dtype="float32", name="logits")(x)
        super().__init__(inputs=inputs, outputs=logits, name=name, **kwargs)
        # === Config ===
        self.encoders = {"text": encoder}
        self.tag_names = names
        self.dropout_rate = dropout_rate
        self.packer = TokenPacker(
            encoder.tokenizer, encoder.family, encoder.sequence_length
        )

    @property
    def encoder(self) -> TextEncoder:
        """The text encoder."""
        return self.encoders["text"]

    # === Training ===
    def pad_record(self, record: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Gives words and tags a fixed shape: a `preprocess` for `build_dataset`.

        Args:
            record: Features of `kmmft.data.schema.tagged`.

        Returns:
            dict of `words` string `(max_words,)`, filled up by empty strings, and
            `tags` int32, filled up by 0.
        """
        size = self.packer.length
        words, tags = record["words"][:size], record["tags"][:size]
        missing = [[0, size - tf.size(words)]]
        return {
            "words": tf.ensure_shape(
                tf.pad(words, missing, constant_values=""), [size]
            ),
            "tags": tf.ensure_shape(tf.pad(tf.cast(tags, tf.int32), missing), [size]),
        }

    def prepare_batch(self, batch: Mapping[str, tf.Tensor]) -> tuple:
        """Makes what `fit` takes: a `batch_preprocess` for `build_dataset`.

        Args:
            batch: Batch of what `pad_record` returns.

        Returns:
            `(inputs, tags, weights)`: int32 and float32 `(batch, length)`. Weights are
            1 at the first token of each word and 0 elsewhere.
        """
        words = tf.RaggedTensor.from_tensor(batch["words"], padding="")
        inputs, places = self._pack(words)
        rows = tf.shape(places, tf.int64)[0]
        real = places >= 0
        tags = tf.cast(batch["tags"], tf.int32)[:, : tf.shape(places)[1]]
        spots = tf.stack([tf.where(real)[:, 0], tf.boolean_mask(places, real)], axis=1)
        shape = tf.stack([rows, tf.constant(self.packer.length, tf.int64)])
        tags = tf.scatter_nd(spots, tf.boolean_mask(tags, real), shape)
        weights = tf.scatter_nd(spots, tf.ones_like(spots[:, 0], tf.float32), shape)
        fixed = [None, self.packer.length]
        return inputs, tf.ensure_shape(tags, fixed), tf.ensure_shape(weights, fixed)

    # === Use ===
    def tag(
        self, sentences: Sequence[Sequence[str]], batch_size: int = 32
    ) -> list[list[str]]:
        """Tags sentences that are split into words.

        Args:
            sentences: The words of each; a word is no empty string.
            batch_size: How many sentences are run at a time.

        Returns:
            As many tags as words for each sentence.

        Raises:
            ValueError: If there is no sentence, or a word is empty.
        """
        sentences = [list(words) for words in sentences]
        if not sentences or any("" in words for words in sentences):
            raise ValueError(
                "There must be a sentence, and no word may be empty. Received: "
                f"{len(sentences)} sentences, {sum('' in w for w in sentences)} with "
                "an empty word."
            )
        run = self._in_graph("tag", self.tag_words)
        found = []
        for start in range(0, len(sentences), batch_size):
            part = sentences[start : start + batch_size]
            tags = run(tf.ragged.constant(part, tf.string, ragged_rank=1))["tags"]
            found += [
                [tag.decode() for tag in row[: len(words)]]
                for row, words in zip(tags.numpy(), part, strict=True)
            ]
        return found

    def tag_words(self, words: tf.RaggedTensor) -> dict[str, tf.Tensor]:
        """Tags words in a graph.

        Args:
            words: Ragged string tensor `(batch, None)`.

        Returns:
            dict of `words` and `tags`, string `(batch, most_words)` filled up by empty
            strings, and `probabilities` of the tags, float32, by 0.
        """
        inputs, places = self._pack(words)
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

    def serve(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Splits texts into words and tags them, in a graph.

        Args:
            text: string tensor `(batch,)`.

        Returns:
            As `tag_words`, with `starts` int64, the byte at which each word begins, -1
            where there is none.
        """
        text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8")
        words = split_words(text)
        return {**self.tag_words(words.words), "starts": words.starts.to_tensor(-1)}

    def serving_functions(self, **options) -> dict[str, ServedFunction]:
        """What an exported model can be asked, by the name of the signature.

        `serving_default`, also called `tag`, is `serve`. `tag_words` takes sentences
        whose words stand with a space between them, as training data have them.

        Args:
            **options: As for `ServedRows`.

        Returns:
            dict of functions of raw inputs.
        """
        rows = ServedRows(self, **options)
        spec = {"text": tf.TensorSpec([None], tf.string, name="text")}

        def tag_words(text):
            return self.tag_words(tf.strings.split(text))

        served = rows(self.serve, spec)
        return {
            "serving_default": served,
            "tag": served,
            "tag_words": rows(tag_words, spec),
        }

    def _pack(self, words: tf.RaggedTensor) -> tuple[dict, tf.Tensor]:
        """Inputs, and each word's place among the tokens, -1 for none: `(batch, W)`."""
        pieces = word_tokens(self.encoder, words)
        row = in_a_row(pieces)
        packed = self.packer.pack_one(row.tokens)
        first = pieces.values.row_starts() - tf.gather(
            row.tokens.row_starts(), words.value_rowids()
        )
        place = first + self.packer.num_start
        lasts = self.packer.length - 1
        there = (pieces.values.row_lengths() > 0) & (place < lasts)
        places = words.with_values(tf.where(there, place, -1)).to_tensor(-1)
        return packed.inputs(self.encoder.input), places

    # === Config ===
    def get_config(self) -> dict:
        return {
            "name": self.name,
            "trainable": self.trainable,
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "tag_names": self.tag_names,
            "dropout_rate": self.dropout_rate,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        encoder = keras.saving.deserialize_keras_object(
            config["encoder"], custom_objects
        )
        return cls(**{**config, "encoder": encoder})


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
