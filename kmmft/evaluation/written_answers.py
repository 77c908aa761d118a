"""Answers that a model writes to all questions of a split."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import rich.progress
import tensorflow as tf

from kmmft.evaluation.answered_records import AnsweredRecords
from kmmft.metrics import normalize_answer, vqa_accuracy


@dataclasses.dataclass(frozen=True)
class WrittenAnswers(AnsweredRecords):
    """Written answers beside the records that they belong to.

    Answers are the same if they are equal after `kmmft.metrics.normalize_answer`,
    spaces left out: a tokenizer sets spaces around punctuation. Each answer that is
    right for a record or that was written is a class, so that what is said of
    classifiers can be said of them too.

    Attributes:
        texts: What was written to each record.
        classes: The class of each text, int array `(records,)`.
        confidences: The probability of each text, float array `(records,)`.
        records: Arrays `(records,)` by feature, such as `id`, `answer`, `question`, and
            `label`, the class of the right answer.
        class_names: The classes by a spelling of each, those of right answers first.
    """

    texts: list[str]
    classes: np.ndarray
    confidences: np.ndarray
    records: Mapping[str, np.ndarray]
    class_names: list[str]

    @classmethod
    def from_texts(
        cls,
        texts: Sequence[str],
        confidences: np.ndarray,
        records: Mapping[str, np.ndarray],
    ) -> "WrittenAnswers":
        """Compares written texts with the records' `answer`.

        Args:
            texts: One a record.
            confidences: float array `(records,)`.
            records: Arrays `(records,)` by feature, with `answer`.

        Returns:
            `WrittenAnswers`.

        Example:
            >>> records = {"answer": np.array([b"T-shirt", b"red"], object)}
            >>> texts = ["t - shirt", "dark red"]
            >>> answers = kmmft.evaluation.WrittenAnswers.from_texts(
            ...     texts, np.array([0.9, 0.4]), records)
            >>> answers.metrics(answers.class_names)["accuracy"]
            0.5
        """
        truth = [answer.decode(errors="replace") for answer in records["answer"]]
        names = {}
        for text in (*sorted(set(truth)), *sorted(set(texts))):
            names.setdefault(_key(text), text or "(nothing)")
        places = {key: place for place, key in enumerate(names)}
        label, classes = (
            np.array([places[_key(text)] for text in answers])
            for answers in (truth, texts)
        )
        records = {**records, "label": label}
        return cls(list(texts), classes, confidences, records, list(names.values()))


def write_answers(model: keras.Model, dataset: tf.data.Dataset) -> WrittenAnswers:
    """Writes an answer to each record of a split.

    Args:
        model: `kmmft.models.FusionGenerator`; its own search is used.
        dataset: Batches, dicts of the encoders' inputs and of features to keep, as
            `kmmft.models.question_batches(..., keep_records=True)` makes them.

    Returns:
        `WrittenAnswers`.

    Raises:
        ValueError: If the dataset is empty.

    Example::

        test = kmmft.models.question_batches(model, source, "test", batch_size=64,
            keep_records=True)
        answers = kmmft.evaluation.write_answers(model, test)
        answers.metrics(answers.class_names, "question_type")["accuracy"]
    """
    texts, confidences, kept = [], [], []
    log_probability = tf.function(model.log_probability, reduce_retracing=True)
    for batch in rich.progress.track(
        dataset, "answering", transient=True, disable=not sys.stdout.isatty()
    ):
        inputs = {name: batch[name] for name in model.input if name in batch}
        written = model.generate_batch(inputs)
        confidences.append(np.exp(log_probability(inputs, tf.constant(written))))
        texts += [text.decode(errors="replace") for text in written]
        kept.append(
            {
                name: value.numpy()
                for name, value in batch.items()
                if name not in inputs and value.shape.rank == 1
            }
        )
    if not kept:
        raise ValueError(
            "There must be records to answer. Received: an empty dataset. Choose "
            "another split."
        )
    records = {name: np.concatenate([part[name] for part in kept]) for name in kept[0]}
    return WrittenAnswers.from_texts(texts, np.concatenate(confidences), records)


def people_agreement(
    answered: AnsweredRecords, class_names: Sequence[str]
) -> dict[str, float]:
    """VQA v2's accuracy, where several people answered each question.

    Args:
        answered: Answers; among the records may be `answers`, each a serialised string
            tensor, as `kmmft.models.question_batches` keeps them.
        class_names: Names of the classes.

    Returns:
        `vqa_accuracy`, as `kmmft.metrics.vqa_accuracy`; nothing if the records have no
        `answers`. Spaces around punctuation do not count.
    """
    if "answers" not in answered.records:
        return {}
    texts, lists = [], []
    for answer, serialized in zip(
        answered.classes, answered.records["answers"], strict=True
    ):
        given = tf.io.parse_tensor(serialized, tf.string).numpy()
        people = [one.decode(errors="replace") for one in given]
        own = class_names[answer]
        spellings = {_key(one): one for one in people}
        texts.append(spellings.get(_key(own), own))
        lists.append(people)
    return {"vqa_accuracy": vqa_accuracy(texts, lists)}


def _key(answer: str) -> str:
    """What two spellings of one answer have in common."""
    normal = normalize_answer(answer) or answer.lower()  # the answer may be "a"
    return "".join(normal.split())
