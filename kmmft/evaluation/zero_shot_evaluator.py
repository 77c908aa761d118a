"""Zero-shot accuracy over a whole split, after training epochs or by itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np

from kmmft.data import RecordSource, open_source
from kmmft.evaluation.epoch_evaluator import EpochEvaluator
from kmmft.evaluation.predictions import Predictions
from kmmft.evaluation.zero_shot import (
    TEMPLATES,
    label_names,
    zero_shot_metrics,
    zero_shot_predictions,
)

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


class ZeroShotEvaluator(EpochEvaluator):
    """Classifies a labelled split by the names of its classes.

    A callback for `fit` and `kmmft.training.resumable_fit`, where it comes before the
    callbacks that read the logs; `evaluate(model)` works without training.

    Args:
        source: Labelled records: a TFDS directory, a glob of shards, or what
            `open_source` returned.
        split: Name of the split.
        class_names: Words for each class, in the order of the labels. Default: the
            names that the records' features have.
        templates: Sentences with `{}` for the class, whose vectors are averaged.
        top_k: How many guesses the top-k accuracy allows.
        every_epochs: Evaluates after so many epochs.
        prefix: What stands before the names in the logs.
        batch_size: Images that are encoded at a time.
        schema: Features of the records; only bare shards need it.
        max_bad_fraction: Largest fraction of records that may be bad.

    Raises:
        ValueError: If a class is named twice, or names and labels do not fit.

    Example::

        birds = kmmft.evaluation.ZeroShotEvaluator("data/birds/1.0.0", "test")
        model.fit(dataset, epochs=3, callbacks=[birds])
        birds.evaluate(model)["balanced_accuracy"]
    """

    def __init__(
        self,
        source: str | os.PathLike | RecordSource,
        split: str,
        class_names: Sequence[str] | None = None,
        templates: Sequence[str] = TEMPLATES,
        *,
        top_k: int = 5,
        every_epochs: int = 1,
        prefix: str = "val_zero_shot/",
        batch_size: int = 64,
        schema: tfds.features.FeaturesDict | None = None,
        max_bad_fraction: float = 1e-3,
    ):
        super().__init__(every_epochs, prefix)
        self.source = open_source(source, schema)
        self.split = split
        self.class_names = label_names(self.source, class_names)
        self.templates = tuple(templates)
        self.top_k = top_k
        self.batch_size = batch_size
        self.max_bad_fraction = max_bad_fraction

    def predictions(self, model: keras.Model) -> Predictions:
        """Classifies the split, for `zero_shot_metrics` and a report.

        Args:
            model: A model with towers `image` and `text`.

        Returns:
            `Predictions`.
        """
        named = {"id", "label"} & set(self.source.features)
        return zero_shot_predictions(
            model,
            self.source,
            self.split,
            self.class_names,
            self.templates,
            keep=sorted(named),
            batch_size=self.batch_size,
            max_bad_fraction=self.max_bad_fraction,
        )

    def evaluate(self, model: keras.Model) -> dict[str, float]:
        """Classifies the split and counts.

        Args:
            model: A model with towers `image` and `text`.

        Returns:
            dict, as `zero_shot_metrics`.
        """
        return zero_shot_metrics(self.predictions(model), self.class_names, self.top_k)

    def metric_names(self) -> list[str]:
        """The keys of what `evaluate` returns."""
        some = Predictions(np.eye(1, len(self.class_names)), {"label": np.array([0])})
        return [*zero_shot_metrics(some, self.class_names, self.top_k)]
