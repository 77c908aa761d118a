"""From encoded modalities to written texts, in Python and in graph."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kmmft.models.graph_cache import GraphCache
from kmmft.models.raw_inputs import select_inputs
from kmmft.models.text_search import TextSearch
from kmmft.models.token_texts import TokenTexts

# Stands for the fused vector among the modalities.
FUSED = "fused"


class TextGeneration(GraphCache):
    """Mixin for a model with encoders and a decoder: writes texts.

    The model has `encoders` and `projections` by modality, `fusion` or `None`,
    `decoder`, `search`, `max_length`, `_texts`, its `TokenTexts`, and `teach`.
    """

    @property
    def written_about(self) -> list[str]:
        """Modalities that texts are written about."""
        return list(self.encoders)

    def generate(
        self,
        raw: Mapping[str, Sequence],
        batch_size: int = 32,
        search: TextSearch | None = None,
        seed: int = 0,
    ) -> list[str]:
        """Writes texts about raw bytes and strings, as `serve` does in a graph.

        Args:
            raw: By modality, a sequence of image bytes or of texts, of equal length.
            batch_size: How many are run at a time.
            search: Default: the model's own.
            seed: For `kmmft.models.Sampling`.

        Returns:
            One text an example.

        Raises:
            ValueError: If a modality is missing, the lengths differ, or a file cannot
                be decoded.

        Example::

            model.generate({"image": [jpeg_bytes]}, search=kmmft.models.BeamSearch(4))
        """
        seeds = _seeds_of_batches(seed)
        parts = self._in_batches(
            lambda batch: self.generate_batch(batch, search, next(seeds)),
            raw,
            batch_size,
            prepare=self.preprocess,
        )
        return [text.decode() for text in np.concatenate(parts)]

    def generate_batch(
        self,
        inputs: Mapping[str, tf.Tensor],
        search: TextSearch | None = None,
        seed: int = 0,
    ) -> np.ndarray:
        """Writes texts about prepared inputs.

        Args:
            inputs: The encoders' inputs; what else is among them is not read.
            search: Default: the model's own.
            seed: For `kmmft.models.Sampling`.

        Returns:
            object array `(batch,)` of UTF-8 bytes.
        """
        search = search or self.search
        generate = self._in_graph(
            repr(search),
            lambda inputs, seed: self._texts.unpack(
                self.generate_tokens(inputs, search, seed)
            ),
            autograph=False,
        )
        own = {
            name: inputs[name]
            for modality in self.encoders
            for name in self.input_names_of(modality)
        }
        return generate(own, tf.constant(seed)).numpy()

    def generate_tokens(
        self,
        inputs: Mapping[str, tf.Tensor],
        search: TextSearch | None = None,
        seed: int | tf.Tensor = 0,
    ) -> tf.Tensor:
        """Writes texts in a graph, with keys and values of earlier words kept.

        Args:
            inputs: The encoders' inputs.
            search: Default: the model's own.
            seed: int scalar, for `kmmft.models.Sampling`.

        Returns:
            int32 tensor `(batch, max_length)`, which begins with the start tokens.
        """
        context, mask = token_context(
            self.encoders, self.projections, inputs, self.fusion
        )
        search = search or self.search
        return write_tokens(self.decoder, self._texts, context, mask, search, seed)

    def log_probability(
        self, inputs: Mapping[str, tf.Tensor], texts: tf.Tensor
    ) -> tf.Tensor:
        """How likely the model is to write given texts, whatever its search.

        Args:
            inputs: The encoders' inputs.
            texts: string tensor `(batch,)`; what is longer than the model can write is
                cut off.

        Returns:
            float32 tensor `(batch,)`: the natural logarithm of each text's probability,
            that of its end included.
        """
        inputs, words, weights = self.teach(inputs, texts)
        logits = self(inputs, training=False)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(words, logits)
        return -tf.reduce_sum(losses * weights, axis=1)

    def text_lengths(self, texts: Sequence[str]) -> np.ndarray:
        """How many tokens texts have that the model is to write.

        Args:
            texts: The texts.

        Returns:
            int array, start and end token included. What is beyond `max_length` is cut.
        """
        return self._texts.lengths(tf.constant(list(texts))).numpy()

    def serve(self, **raw: tf.Tensor) -> dict[str, tf.Tensor]:
        """Writes texts about raw inputs: the function that an exported model runs.

        Args:
            **raw: As for `preprocess`; with a search that draws, also `seed`, int32
                `(batch,)`, of which the first counts for all.

        Returns:
            dict: `text` string `(batch,)`.
        """
        seed = raw.pop("seed")[0] if self.search.draws else 0
        tokens = self.generate_tokens(self.preprocess(raw), seed=seed)
        return {"text": self._texts.unpack(tokens)}

    def serving_inputs(self) -> dict[str, tf.TensorSpec]:
        """Specs of the raw inputs of `serve`, for the export."""
        specs = super().serving_inputs()
        if self.search.draws:
            specs["seed"] = tf.TensorSpec([None], tf.int32, name="seed")
        return specs


def _seeds_of_batches(seed: int) -> Iterator[int]:
    """The seed, as an exported model takes it, and others that no near seed gives."""
    yield seed
    for number in itertools.count(1):
        sequence = np.random.SeedSequence(seed % 2**32, spawn_key=(number,))
        yield int(sequence.generate_state(1)[0] >> 1)


def write_tokens(
    decoder: keras.layers.Layer,
    texts: TokenTexts,
    context: tf.Tensor,
    mask: tf.Tensor,
    search: TextSearch,
    seed: int | tf.Tensor,
) -> tf.Tensor:
    """Writes texts about a context in a graph, as `TextGeneration.generate_tokens`."""
    length, start = texts.max_length, texts.start_ids
    memory, cache = decoder.begin(context, mask, length - 1)
    row = start + [texts.pad_id] * (length - len(start))
    first = tf.repeat(tf.constant([row], tf.int32), tf.shape(context)[0], axis=0)
    for place in range(len(start) - 1):
        _, cache = decoder.step(first[:, place : place + 1], place, memory, cache)
    end = texts.end_id
    token_ids = search(decoder.step, memory, cache, first, end, seed, given=len(start))
    return tf.ensure_shape(token_ids, [None, length])


def token_context(encoders, projections, inputs, fusion=None):
    """All encoders' tokens in one row, `(batch, length, hidden_dim)`, and its mask.

    With a fusion, its vector stands before them.
    """
    features = {
        modality: encoder(select_inputs(modality, encoder, inputs))
        for modality, encoder in encoders.items()
    }
    tokens = {modality: feature["tokens"] for modality, feature in features.items()}
    masks = [feature["mask"] for feature in features.values()]
    if fusion is not None:
        tokens = {FUSED: ops.expand_dims(fusion(features), 1), **tokens}
        masks = [ops.ones_like(masks[0][:, :1]), *masks]
    read = [
        projections[modality](own) if modality in projections else own
        for modality, own in tokens.items()
    ]
    if len(read) == 1:
        return read[0], masks[0]
    return ops.concatenate(read, axis=1), ops.concatenate(masks, axis=1)
