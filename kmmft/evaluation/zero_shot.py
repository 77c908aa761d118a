"""Classification by the names of the classes, without training on their images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np

from kmmft.data import RecordSource, open_source
from kmmft.evaluation.classification import classification_metrics, confusion_matrix
from kmmft.evaluation.predictions import Predictions
from kmmft.evaluation.record_vectors import encode_records

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

# The seven that Radford et al. found to do best on ImageNet with CLIP, in their
# notebook Prompt_Engineering_for_ImageNet (https://github.com/openai/CLIP).
TEMPLATES = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)


def zero_shot_predictions(
    model: keras.Model,
    source: str | os.PathLike | RecordSource,
    split: str,
    class_names: Sequence[str] | None = None,
    templates: Sequence[str] = TEMPLATES,
    *,
    modality: str = "image",
    feature: str | None = None,
    keep: Sequence[str] = ("id", "label"),
    batch_size: int = 64,
    schema: tfds.features.FeaturesDict | None = None,
    max_bad_fraction: float = 1e-3,
) -> Predictions:
    """Takes each image for the class whose words are the nearest.

    Args:
        model: A model with towers, such as `kmmft.models.DualEncoder`. Its learnt
            `logit_scale` makes probabilities of cosines.
        source: Labelled records: a TFDS directory, a glob of shards, or what
            `open_source` returned.
        split: Name of the split.
        class_names: Words for each class, in the order of the labels. Default: the
            names that the records' features have.
        templates: Sentences with `{}` for the class, whose vectors are averaged.
        modality: The tower that the records go to.
        feature: The records' feature for it; default: of the same name.
        keep: Features to keep beside the predictions, with `label` among them.
        batch_size: Examples that are encoded at a time.
        schema: Features of the records; only bare shards need it.
        max_bad_fraction: Largest fraction of records that may be bad.

    Returns:
        `Predictions`, as `kmmft.evaluation.report_classifier` shows them.

    Raises:
        ValueError: If a class is named twice, names and labels do not fit, or a
            template has no `{}`.

    Example::

        answers = kmmft.evaluation.zero_shot_predictions(model, "data/birds", "test")
        answers.metrics(class_names)

    References:
        - [Radford et al., 2021](https://arxiv.org/abs/2103.00020), section 3.1.
    """
    opened = open_source(source, schema)
    class_names = label_names(opened, class_names)
    weights = model.zero_shot_classifier(class_names, templates)
    encoded = encode_records(
        model,
        opened,
        split,
        {modality: feature or modality},
        keep=keep,
        batch_size=batch_size,
        max_bad_fraction=max_bad_fraction,
    )
    # float64: cosines times 100 leave few of float32's digits to the differences.
    cosines = np.float64(encoded.vectors[modality]) @ np.float64(weights).T
    logits = float(model.logit_scale) * cosines
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return Predictions(odds / odds.sum(axis=-1, keepdims=True), encoded.records)


def zero_shot_metrics(
    predictions: Predictions, class_names: Sequence[str], top_k: int = 5
) -> dict[str, float]:
    """Accuracy, top-k accuracy and the mean accuracy of the classes.

    Balanced accuracy gives each class that occurs the same weight. In the top-k
    accuracy, classes of equal probability count as their mean over all orders.

    Args:
        predictions: What `zero_shot_predictions` returned.
        class_names: Names of the classes.
        top_k: How many guesses are allowed; left out if there are no more classes.

    Returns:
        dict: what `classification_metrics` gives, `balanced_accuracy` and
        `top_<k>_accuracy`.

    Example:
        >>> chances = np.array([[0.8, 0.1, 0.1], [0.5, 0.3, 0.2]])
        >>> answers = kmmft.evaluation.Predictions(chances, {"label": np.array([0, 1])})
        >>> metrics = kmmft.evaluation.zero_shot_metrics(answers, list("abc"), top_k=2)
        >>> metrics["accuracy"], metrics["top_2_accuracy"]
        (0.5, 1.0)
    """
    labels = predictions.records["label"]
    metrics = classification_metrics(labels, predictions.classes, class_names)
    counts = confusion_matrix(labels, predictions.classes, len(class_names))
    occurs = counts.sum(axis=1) > 0
    recalls = counts.diagonal()[occurs] / counts.sum(axis=1)[occurs]
    metrics["balanced_accuracy"] = float(recalls.mean())
    if top_k < len(class_names):
        scores = predictions.probabilities
        own = scores[np.arange(len(labels)), labels][:, np.newaxis]
        above = (scores > own).sum(axis=1)
        tied = (scores == own).sum(axis=1)
        hits = np.clip((top_k - above) / tied, 0, 1)
        metrics[f"top_{top_k}_accuracy"] = float(hits.mean())
    return metrics


def label_names(
    source: RecordSource, class_names: Sequence[str] | None = None
) -> list[str]:
    """Names for the labels of a source, its own unless others are given.

    Args:
        source: Labelled records.
        class_names: Other names, in the order of the labels.

    Returns:
        One name a class.

    Raises:
        ValueError: If the records have no label, or not as many classes, or names
            repeat.
    """
    label = dict(source.features).get("label")
    number = getattr(label, "num_classes", None)
    if number is None:
        raise ValueError(
            f"The records of {source.path} must have a `label` of numbered classes. "
            f"Received: {sorted(source.features)}. Build them with "
            "kmmft.data.schema.labelled."
        )
    names = list(label.names if class_names is None else class_names)
    if len(names) != number or len(set(names)) < number:
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(
            f"`class_names` must name each of the {number} classes, no two alike. "
            f"Received: {len(names)} names, repeated: {repeated}. Pass them in the "
            "order of the labels."
        )
    return names
