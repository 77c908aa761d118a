"""A classifier's answers to a whole split, with the records they belong to."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from kmmft.data import RecordSource, parse_record, read_records
from kmmft.evaluation.answered_records import AnsweredRecords
from kmmft.evaluation.report_parts import Example


@dataclasses.dataclass(frozen=True)
class Predictions(AnsweredRecords):
    """Probabilities of a split's records, beside what the records say.

    Attributes:
        probabilities: float array `(records, classes)`.
        records: Arrays `(records,)` by feature, such as `id`, `label`, `question`.
    """

    probabilities: np.ndarray
    records: Mapping[str, np.ndarray]

    @property
    def classes(self) -> np.ndarray:
        """The likeliest class of each record, int array `(records,)`."""
        return self.probabilities.argmax(axis=-1)

    @property
    def confidences(self) -> np.ndarray:
        """Its probability, float array `(records,)`."""
        return self.probabilities.max(axis=-1)

    def with_unknown_class(self) -> "Predictions":
        """Adds one class at the end, of probability 0, where a record asks for it.

        For records whose label has no class in the model, so that they count as
        answered wrongly instead of not at all.
        """
        classes = self.probabilities.shape[1]
        if classes not in self.records["label"]:
            return self
        return dataclasses.replace(
            self, probabilities=np.pad(self.probabilities, ((0, 0), (0, 1)))
        )

    def class_names(self, known: Sequence[str]) -> list[str]:
        """Names of all classes, with one for labels that are no class of the model.

        Args:
            known: Names of the model's classes.
        """
        return [*known, "(not in the vocabulary)"][: self.probabilities.shape[1]]


def predict_records(model: keras.Model, dataset: tf.data.Dataset) -> Predictions:
    """Runs a classifier over batches that also hold the records' other features.

    Args:
        model: Classifier with a dict of inputs and logits as output.
        dataset: Batches, dicts of the model's inputs and of features to keep: every
            further tensor of shape `(batch,)`.

    Returns:
        `Predictions`.

    Raises:
        ValueError: If the dataset is empty.
    """

    (predictions,) = answer_records(
        model, dataset, lambda inputs: [model(inputs, training=False)]
    )
    return predictions


def answer_records(
    model: keras.Model,
    dataset: tf.data.Dataset,
    answer: Callable[[dict[str, tf.Tensor]], list[tf.Tensor]],
) -> list[Predictions]:
    """Answers each batch of records in one or several ways.

    Args:
        model: Classifier; its inputs are taken from the batches.
        dataset: As for `predict_records`.
        answer: From a batch of inputs, logits for each way of answering.

    Returns:
        `Predictions` for each way, in their order.

    Raises:
        ValueError: If the dataset is empty.
    """
    # Not `predict_on_batch`, which under a strategy answers once for each replica.
    answer = tf.function(answer, reduce_retracing=True)
    logits, kept = [], []
    for batch in dataset:
        inputs = {name: batch[name] for name in model.input}
        logits.append([one.numpy() for one in answer(inputs)])
        kept.append(
            {
                name: value.numpy()
                for name, value in batch.items()
                if name not in inputs and value.shape.rank == 1
            }
        )
    if not logits:
        raise ValueError(
            "There must be records to answer. Received: an empty dataset. Choose "
            "another split."
        )
    records = {name: np.concatenate([part[name] for part in kept]) for name in kept[0]}
    probabilities = (
        keras.ops.softmax(np.concatenate(parts)) for parts in zip(*logits, strict=True)
    )
    return [
        Predictions(keras.ops.convert_to_numpy(one), records) for one in probabilities
    ]


def show_examples(
    predictions: AnsweredRecords,
    source: RecordSource,
    split: str,
    class_names: Sequence[str],
    text: str,
    max_examples: int = 48,
) -> list[Example]:
    """Chooses examples to look at: mistakes first, the least sure answers foremost.

    Args:
        predictions: What `predict_records` or `write_answers` returned; the records
            have an `id` and a `label`.
        source: Where the records are; their pictures are read again.
        split: Their split.
        class_names: Names of the classes.
        text: Feature to show beside the picture.
        max_examples: Number of examples.

    Returns:
        Examples for `write_report`.
    """
    wrong = predictions.classes != predictions.records["label"]
    # lexsort sorts by its last key first.
    order = np.lexsort((predictions.confidences, ~wrong))[:max_examples]
    ids = predictions.text("id")
    images = images_by_id(source, split, {ids[row] for row in order})
    # The empty string is an image that the record lacks.
    texts = predictions.text(text)
    return [
        Example(
            image=images.get(ids[row]) or None,
            text=texts[row],
            target=class_names[predictions.records["label"][row]],
            prediction=class_names[predictions.classes[row]],
            confidence=float(predictions.confidences[row]),
            id=ids[row],
        )
        for row in order
    ]


def images_by_id(source: RecordSource, split: str, ids: set[str]) -> dict[str, bytes]:
    """Reads the encoded images of some records.

    Args:
        source: Where the records are.
        split: Their split.
        ids: Their ids.

    Returns:
        Bytes by id; empty if the records have no image. Records that cannot be read
        are left out and logged.
    """
    if "image" not in source.features:
        return {}

    def picture(serialized):
        record = parse_record(serialized, source.features)
        return record["id"], record["image"]

    found = {}
    # What evaluation skipped must not end the run once more.
    records = read_records(source, split, on_error="skip").map(picture)
    for name, image in records.as_numpy_iterator():
        if len(found) == len(ids):
            break
        if name.decode(errors="replace") in ids:
            found.setdefault(name.decode(errors="replace"), image)
    return found
