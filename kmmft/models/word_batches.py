"""Sentences of words and tags, as a model of tags learns from them."""

from collections.abc import Mapping

import tensorflow as tf

from kmmft.encoders.word_tokens import in_a_row, word_tokens


class WordBatches:
    """Mixin for a `kmmft.models.TokenClassifier`: words to tokens and tags to places.

    The model has a `packer`, and is an `ImageBeside`.
    """

    def pad_record(self, record: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Gives words and tags a fixed shape: a `preprocess` for `build_dataset`.

        Args:
            record: Features of `kmmft.data.schema.tagged`.

        Returns:
            dict of `words` string `(max_words,)`, filled up by empty strings, and
            `tags` int32, filled up by 0; with an image encoder also `image`, decoded,
            float32 `(height, width, 3)`.
        """
        size = self.packer.length
        words, tags = record["words"][:size], record["tags"][:size]
        missing = [[0, size - tf.size(words)]]
        return {
            "words": tf.ensure_shape(
                tf.pad(words, missing, constant_values=""), [size]
            ),
            "tags": tf.ensure_shape(tf.pad(tf.cast(tags, tf.int32), missing), [size]),
            **self.decoded_image(record),
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
        inputs, places = self.pack_words(words)
        rows = tf.shape(places, tf.int64)[0]
        real = places >= 0
        tags = tf.cast(batch["tags"], tf.int32)[:, : tf.shape(places)[1]]
        spots = tf.stack([tf.where(real)[:, 0], tf.boolean_mask(places, real)], axis=1)
        shape = tf.stack([rows, tf.constant(self.packer.length, tf.int64)])
        tags = tf.scatter_nd(spots, tf.boolean_mask(tags, real), shape)
        weights = tf.scatter_nd(spots, tf.ones_like(spots[:, 0], tf.float32), shape)
        fixed = [None, self.packer.length]
        inputs |= self.image_inputs(batch.get("image"))
        return inputs, tf.ensure_shape(tags, fixed), tf.ensure_shape(weights, fixed)

    def pack_words(self, words: tf.RaggedTensor) -> tuple[dict, tf.Tensor]:
        """The text encoder's inputs, and where each word is among the tokens.

        Args:
            words: Ragged string tensor `(batch, None)`.

        Returns:
            Inputs, and int64 `(batch, most_words)`: the place of each word's first
            token, -1 for none.
        """
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
