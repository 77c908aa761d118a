"""Vectors of raw bytes and strings, and what they are compared with."""

import functools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from kmmft.metrics import unit_vectors
from kmmft.models.graph_cache import GraphCache
from kmmft.models.raw_rows import bad_rows_told, check_batch_size
from kmmft.models.served_rows import ServedFunction, ServedRows
from kmmft.models.similarity_signatures import SimilaritySignatures


class Encoding(GraphCache):
    """Mixin for a model with towers and `kmmft.models.RawInputs`' preparation."""

    def encode(self, modality: str, raw: Sequence, batch_size: int = 64) -> np.ndarray:
        """Encodes raw bytes or strings in Python.

        Args:
            modality: Name of the tower.
            raw: Sequence of encoded images or sounds, of texts, or of videos, each a
                sequence of encoded frames. Images and videos may also be decoded, float
                `(count, [frames,] height, width, 3)`, of the encoder's own size; for
                videos with a mask: a dict, as the encoder's `preprocess` returns.
            batch_size: How many are run at a time.

        Returns:
            float32 array `(count, dim)`, each row of length 1.

        Raises:
            ValueError: If there is no such tower, `raw` is empty or one string, or a
                file cannot be decoded.

        Example::

            vectors = model.encode("text", ["a red circle", "a blue square"])
        """
        if modality not in self.towers:
            raise ValueError(
                f"`modality` must be one of {list(self.towers)}. "
                f"Received: {modality!r}."
            )
        if isinstance(raw, str | bytes):
            raise ValueError(
                "`raw` must be a sequence. Received: one string, "
                f"{raw[:40]!r}. Put it into a list."
            )
        if len(raw) == 0:
            raise ValueError("There must be something to encode. Received: raw=[].")
        check_batch_size(batch_size)
        run = self._in_graph(modality, functools.partial(self._encode, modality))
        files = {modality} & {*self.file_modalities()}
        decoders = {name: self.file_decoder(name) for name in files}
        rows = {} if isinstance(raw, Mapping) else {modality: raw}
        with bad_rows_told(decoders, rows):
            parts = [run(part).numpy() for part in _batches(raw, batch_size)]
        return np.concatenate(parts)

    def _encode(self, modality: str, values: tf.Tensor) -> tf.Tensor:
        inputs = self.preprocess_modality(modality, values)
        return self.towers[modality](self.select(modality, inputs), training=False)

    def encode_image(self, raw: Sequence, batch_size: int = 64) -> np.ndarray:
        """`encode("image", raw)`."""
        return self.encode("image", raw, batch_size)

    def encode_text(self, raw: Sequence[str], batch_size: int = 64) -> np.ndarray:
        """`encode("text", raw)`."""
        return self.encode("text", raw, batch_size)

    def similarity(self, vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Cosines of encoded vectors.

        Args:
            vectors: float array `(n, dim)`, from `encode`.
            others: float array `(m, dim)`, from `encode`.

        Returns:
            float array `(n, m)`.
        """
        return vectors @ others.T

    def zero_shot_classifier(
        self,
        class_names: Sequence[str],
        templates: Sequence[str] = ("{}",),
        modality: str = "text",
    ) -> np.ndarray:
        """One vector a class: a classifier's weights made of words.

        Args:
            class_names: The classes, each once.
            templates: Sentences with `{}` for the class; their vectors are averaged.
            modality: Name of the text tower.

        Returns:
            float32 array `(classes, dim)`, each row of length 1. The class of an image
            is that of the largest `similarity`.

        Raises:
            ValueError: If a class is named twice, or a template has no `{}`.

        References:
            - [Radford et al., 2021](https://arxiv.org/abs/2103.00020), sec. 3.1.4
              (prompt ensembles).
        """
        names = list(class_names)
        if not names or len(set(names)) < len(names):
            raise ValueError(
                "`class_names` must list each class once, and at least one. "
                f"Received: {names}."
            )
        if not templates or any("{}" not in template for template in templates):
            raise ValueError(
                "Each template needs `{}` where the class goes. "
                f"Received: templates={list(templates)}."
            )
        prompts = [t.replace("{}", name) for name in names for t in templates]
        vectors = self.encode(modality, prompts)
        means = vectors.reshape(len(names), len(templates), -1).mean(axis=1)
        return unit_vectors("class vectors", means)

    def serving_functions(
        self,
        class_names: Sequence[str] = (),
        templates: Sequence[str] = ("{}",),
        **options,
    ) -> dict[str, ServedFunction]:
        """What an exported model can be asked, by the name of the signature.

        `encode_<modality>` for each, and by default the cosines of pairs. With an
        image or video and a text among the modalities also `rank`, which orders the
        texts that come with an image, and `zero_shot_by_embedding`; with class names
        `zero_shot`. See `kmmft.models.similarity_signatures`.

        Args:
            class_names: Classes of `zero_shot`, whose vectors are stored.
            templates: Sentences for them, as in `zero_shot_classifier`.
            **options: `strict` and `max_pixels`, as for `ServedRows`.

        Returns:
            dict of functions of raw inputs.
        """
        specs = self.serving_inputs()
        rows = ServedRows(self, **options)
        # Traced once, for all functions that encode a modality.
        encode = {
            modality: tf.function(functools.partial(self._encode, modality))
            for modality in self.towers
        }

        def encoder_of(modality):
            return lambda **raw: {"embedding": encode[modality](raw[modality])}

        def compare(**raw):
            return self.compare({name: encode[name](raw[name]) for name in encode})

        functions = {"serving_default": rows(compare, specs)}
        for modality, spec in specs.items():
            name = f"encode_{modality}"
            functions[name] = rows(encoder_of(modality), {modality: spec})
        signatures = SimilaritySignatures(self, rows, encode)
        return functions | signatures.functions(class_names, templates)

    def serve(self, **raw: tf.Tensor) -> dict[str, tf.Tensor]:
        """Compares raw inputs row by row: what an exported model does by default.

        Args:
            **raw: As for `preprocess`.

        Returns:
            dict, as `compare`.
        """
        return self.compare(self(self.preprocess(raw), training=False))

    def compare(self, vectors: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Cosines of encoded rows.

        Args:
            vectors: float tensors `(batch, dim)` by modality.

        Returns:
            dict: `<modality>_embedding` `(batch, dim)` for each, and `similarity`
            `(batch,)`, the cosine of the first two.
        """
        first, second, *_ = (vectors[modality] for modality in self.encoders)
        return {
            **{f"{modality}_embedding": value for modality, value in vectors.items()},
            "similarity": tf.reduce_sum(first * second, axis=-1),
        }

    def compare_candidates(
        self, queries: tf.Tensor, candidates: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Compares each row with candidates of its own.

        Args:
            queries: float tensor `(batch, dim)`.
            candidates: float tensor `(batch, count, dim)`.

        Returns:
            float tensors `(batch, count)`: cosines, and the logits that the model was
            trained with.
        """
        cosines = tf.einsum("bd,bcd->bc", queries, candidates)
        return cosines, self.logit_scale_layer(cosines)


def _batches(raw: Sequence | Mapping, batch_size: int) -> Iterator:
    if isinstance(raw, Mapping):
        yield from tf.data.Dataset.from_tensor_slices(dict(raw)).batch(batch_size)
        return
    for start in range(0, len(raw), batch_size):
        yield _stack(raw[start : start + batch_size])


def _stack(raw: Sequence) -> tf.Tensor:
    """One tensor; empty strings fill up videos that have fewer frames than others."""
    if np.ndim(raw[0]) == 1:
        videos = [tf.constant(frames, tf.string) for frames in raw]
        return tf.ragged.stack(videos).to_tensor("")
    return tf.convert_to_tensor(raw)
