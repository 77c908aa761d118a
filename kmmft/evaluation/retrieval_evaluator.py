"""Retrieval over a whole split, after training epochs or by itself."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np

from kmmft.data import RecordSource, open_source
from kmmft.evaluation.epoch_evaluator import EpochEvaluator
from kmmft.evaluation.record_vectors import RecordVectors, encode_records
from kmmft.metrics import two_way_retrieval, two_way_retrieval_from_scores

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


class RetrievalEvaluator(EpochEvaluator):
    """Recalls and ranks in both directions, over all records of a split.

    A callback for `fit` and `kmmft.training.resumable_fit`, where it comes before the
    callbacks that read the logs; `evaluate(model)` works without training. All
    captions of a record are used. Losses and recalls of batches depend on the batch
    size; these numbers do not.

    Args:
        source: A TFDS directory, a glob of shards, or what `open_source` returned.
        split: Name of the split.
        features: By modality, the feature of the records, two of them. The first has
            one value a record, the second one or several, as captions.
        ks: Numbers of first candidates for recall, none larger than the split.
        every_epochs: Evaluates after so many epochs.
        prefix: What stands before the names in the logs.
        batch_size: Examples that are encoded at a time.
        schema: Features of the records; only bare shards need it.
        max_bad_fraction: Largest fraction of records that may be bad.

    Raises:
        ValueError: If there are not two modalities, or a k is larger than the split.

    Example::

        validation = kmmft.evaluation.RetrievalEvaluator(source, "validation")
        kmmft.training.resumable_fit(
            model, ..., monitor="val_mean_recall", callbacks=[validation]
        )
        kmmft.evaluation.RetrievalEvaluator(source, "test").evaluate(model)
    """

    def __init__(
        self,
        source: str | os.PathLike | RecordSource,
        split: str,
        *,
        features: Mapping[str, str] | None = None,
        ks: Sequence[int] = (1, 5, 10),
        every_epochs: int = 1,
        prefix: str = "val_",
        batch_size: int = 64,
        schema: tfds.features.FeaturesDict | None = None,
        max_bad_fraction: float = 1e-3,
    ):
        super().__init__(every_epochs, prefix)
        self.source = open_source(source, schema)
        self.split = split
        self.features = dict(features or {"image": "image", "text": "captions"})
        self.ks = tuple(ks)
        self.batch_size = batch_size
        self.max_bad_fraction = max_bad_fraction
        self._check()

    @classmethod
    def with_ks_that_fit(
        cls, source: RecordSource, split: str, **options
    ) -> RetrievalEvaluator:
        """Recall at 1, 5 and 10, without those that a small split is too small for.

        Args:
            source: What `open_source` returned.
            split: Name of the split.
            **options: Further arguments of `RetrievalEvaluator`.
        """
        records = source.split(split, on_error="skip").num_records
        return cls(source, split, ks=[k for k in (1, 5, 10) if k <= records], **options)

    def _check(self) -> None:
        if len(self.features) != 2:
            raise ValueError(
                "Retrieval is between two modalities. Received: "
                f"features={self.features}. Make one evaluator for each pair."
            )
        records = self.source.split(self.split, on_error="skip").num_records
        if not self.ks or not 1 <= min(self.ks) <= max(self.ks) <= records:
            raise ValueError(
                f"`ks` must be from 1 to the number of records, {records} in split "
                f"{self.split!r}. Received: ks={self.ks}. Pass smaller ones, such as "
                "ks=(1,)."
            )

    def encode(self, model: keras.Model) -> RecordVectors:
        """Encodes the split, for `metrics` and for a search index or a report.

        Args:
            model: A model with towers.

        Returns:
            `RecordVectors`, with `scores` if the model scores pairs.
        """
        encoded = encode_records(
            model,
            self.source,
            self.split,
            self.features,
            keep=("id",) if "id" in self.source.features else (),
            batch_size=self.batch_size,
            max_bad_fraction=self.max_bad_fraction,
        )
        first, second = (encoded.vectors[modality] for modality in self.features)
        if first.ndim == second.ndim == 2:
            return encoded
        # Several vectors of a value: only the model can compare them.
        return dataclasses.replace(encoded, scores=model.similarity(first, second))

    def metrics(self, encoded: RecordVectors) -> dict[str, float]:
        """Compares what `encode` returned.

        Args:
            encoded: Vectors of the split, or scores.

        Returns:
            dict, as `kmmft.metrics.two_way_retrieval`.

        Raises:
            ValueError: If a record has several values of the first modality.
        """
        first, second = self.features
        rows = encoded.record_of[first]
        if not np.array_equal(rows, np.arange(len(rows))):
            raise ValueError(
                "The first modality must have one value a record. Received: "
                f"features={self.features}, {len(rows)} values of {first!r}. Put the "
                "other modality first."
            )
        right, names = encoded.record_of[second], (first, second)
        if encoded.scores is not None:
            return two_way_retrieval_from_scores(encoded.scores, right, self.ks, names)
        vectors = (encoded.vectors[modality] for modality in names)
        return two_way_retrieval(*vectors, right, self.ks, names)

    def evaluate(self, model: keras.Model) -> dict[str, float]:
        """Encodes the split and compares everything with everything.

        Args:
            model: A model with towers, such as `kmmft.models.DualEncoder`.

        Returns:
            dict: `image_to_text/recall_at_1`, ..., `mean_recall`, as
            `kmmft.metrics.two_way_retrieval`.
        """
        return self.metrics(self.encode(model))

    def metric_names(self) -> list[str]:
        """The keys of what `evaluate` returns."""
        vectors = np.eye(max(self.ks))
        names = tuple(self.features)
        return [
            *two_way_retrieval(vectors, vectors, range(len(vectors)), self.ks, names)
        ]
