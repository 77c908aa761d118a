"""How good a classifier is with each subset of its modalities."""

import itertools
from collections.abc import Mapping, Sequence

import tensorflow as tf

from kmmft.evaluation.predictions import Predictions, answer_records
from kmmft.evaluation.report_parts import Table
from kmmft.models import FusionClassifier

Subset = tuple[str, ...]


def modality_subsets(modalities: Sequence[str]) -> list[Subset]:
    """Every choice of one or more modalities, the largest first.

    Args:
        modalities: Their names.

    Returns:
        Tuples of names, in the order given.

    Example:
        >>> kmmft.evaluation.modality_subsets(["image", "text"])
        [('image', 'text'), ('image',), ('text',)]
    """
    return [
        subset
        for size in range(len(modalities), 0, -1)
        for subset in itertools.combinations(modalities, size)
    ]


def predict_subsets(
    model: FusionClassifier, dataset: tf.data.Dataset
) -> dict[Subset, Predictions]:
    """Answers a split once with each subset of the model's modalities.

    The modalities outside the subset are taken away from all records, as if they had
    never been there; a modality that a record lacks stays missing. Encoders run once a
    batch, so all subsets take little longer than one.

    Args:
        model: A classifier with `missing_modalities`.
        dataset: Batches, as for `predict_records`.

    Returns:
        `Predictions` by subset, in the order of `modality_subsets`. Their records hold
        `given`, bool: whether the record has any modality of the subset.

    Raises:
        ValueError: If the dataset is empty, or no modality may be missing.

    Example::

        answers = kmmft.evaluation.predict_subsets(model, test_batches)
        scores = kmmft.evaluation.subset_metrics(answers, model.class_names)
        print_table(kmmft.evaluation.subset_table(scores))
    """
    if not model.missing_modalities:
        raise ValueError(
            "Only a classifier that knows missing modalities can do without some. "
            "Received: missing_modalities=False. Build it with True, and train it with "
            "a fusion whose modality_dropout_rate is above 0."
        )
    subsets = modality_subsets(list(model.encoders))

    def answer(inputs):
        features = model.encode_modalities(inputs)
        logits = []
        for subset in subsets:
            present = {
                name: inputs[f"{name}_present"] & (name in subset)
                for name in model.encoders
            }
            logits.append(model.classify_features(features, present))
        return logits

    answered = answer_records(model, dataset.map(_keep_presence(model)), answer)
    found = {}
    for subset, predictions in zip(subsets, answered, strict=True):
        records = dict(predictions.records)
        here = [records[f"_{name}_present"] for name in subset]
        records = {k: v for k, v in records.items() if not k.startswith("_")}
        given = {"given": sum(here) > 0}
        found[subset] = Predictions(predictions.probabilities, records | given)
    return found


def _keep_presence(model: FusionClassifier):
    """Keeps beside the records what is an input of the model, and so is not kept."""

    def keep(batch):
        names = [f"{name}_present" for name in model.encoders]
        return {**batch, **{f"_{name}": batch[name] for name in names}}

    return keep


def subset_metrics(
    predictions: Mapping[Subset, Predictions],
    class_names: Sequence[str],
    prefix: str = "given/",
) -> dict[str, float]:
    """Accuracy and macro F1 with each subset of modalities.

    All records count with each subset, also those that have nothing of it and can only
    be guessed: so the numbers are of the same records and may be compared.

    Args:
        predictions: What `predict_subsets` returned.
        class_names: Names of the classes.
        prefix: What the names of the numbers begin with.

    Returns:
        Flat dict: for each subset, as in `given/image+text/`, the `accuracy` with its
        interval, `macro_f1`, and `records`, the share that has any of the subset.
    """
    metrics = {}
    for subset, answers in predictions.items():
        scores = answers.metrics(class_names) | {
            "records": float(answers.records["given"].mean())
        }
        name = prefix + "+".join(subset)
        metrics |= {f"{name}/{key}": value for key, value in scores.items()}
    return metrics


def subset_table(
    metrics: Mapping[str, float],
    prefix: str = "given/",
    title: str = "Test accuracy, by what the model is given",
) -> Table:
    """The table of `subset_metrics`.

    Args:
        metrics: Flat dict with at least these numbers.
        prefix: As there.
        title: Heading.

    Returns:
        `Table`, one row a subset.

    Example:
        >>> numbers = {"accuracy": 0.9, "macro_f1": 0.8, "records": 1.0}
        >>> metrics = {f"given/image+text/{key}": one for key, one in numbers.items()}
        >>> kmmft.evaluation.subset_table(metrics).rows
        [['image + text', 0.9, 0.8, 1.0]]
    """
    ends = "/macro_f1"
    subsets = [
        name.removeprefix(prefix).removesuffix(ends)
        for name in metrics
        if name.startswith(prefix) and name.endswith(ends)
    ]
    columns = ("accuracy", "macro_f1", "records")
    return Table(
        title,
        ["given", "accuracy", "macro F1", "records that have any of it"],
        [
            [
                subset.replace("+", " + "),
                *(metrics[f"{prefix}{subset}/{column}"] for column in columns),
            ]
            for subset in subsets
        ],
        highlight=0,
        note="The other modalities were taken away from all test records.",
    )
