"""Batches of questions about images and their answers, to choose from or to write."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kmmft import data
from kmmft.models.fusion_classifier import FusionClassifier
from kmmft.models.fusion_generator import FusionGenerator


def question_batches(
    model: FusionClassifier | FusionGenerator,
    source: data.RecordSource,
    split: str,
    *,
    batch_size: int,
    start_step: int | None = None,
    horizontal_flip: bool = False,
    keep_records: bool = False,
    labelled: bool = True,
    **options: Any,
) -> tf.data.Dataset:
    """Batches that `model` learns from; endless and shuffled if `start_step` is given.

    A record without a question is bad. For a classifier, so is one of the splits but
    `test` with an answer that is no class of the model. A test question that nobody
    could answer has the label `len(class_names)`, so that it counts as wrong. For a
    generator, whose `target` is `answer`, a record without an answer is bad.

    Records may have, beside `answer`, all people's `answers`. A generator then learns
    one of these at random in each epoch; kept records have them as one string,
    serialised by `tf.io.serialize_tensor`.

    Args:
        model: Its encoders are of features of the records. A classifier's classes are
            answers.
        source: Records of `kmmft.data.schema.image_question_answer`.
        split: Name of the split.
        batch_size: Examples of a batch, over all devices together.
        start_step: Batches of the training that were seen before.
        horizontal_flip: Whether training images are mirrored at random.
        keep_records: Whether batches are dicts with the records' other features.
        labelled: Whether a classifier is told the answers. If not, they are not read,
            and all labels are 0.
        options: Further ones of `kmmft.data.build_dataset`, such as `seed`.

    Returns:
        `tf.data.Dataset`.

    Example::

        batches = kmmft.models.question_batches(model, source, "train",
            batch_size=64, start_step=0, horizontal_flip=True)
    """
    writes = isinstance(model, FusionGenerator)
    draws = writes and "answers" in source.features
    answer = _written_answer if writes else _label(model, split)
    if not labelled:
        answer = _no_label
    flip = data.ImageAugmentation(
        crop_area=(1, 1), brightness=0.0, contrast=0.0, saturation=0.0
    )

    def preprocess(record):
        asked = tf.strings.length(tf.strings.strip(record["question"])) > 0
        tf.debugging.Assert(asked, ["The question is empty."])
        decoded = {**model.decode_record(record), **answer(record["answer"])}
        if "answers" in record:  # lists of any length: batches need fixed shapes
            decoded["answers"] = tf.io.serialize_tensor(record["answers"])
        return decoded

    def augment(record, seed):
        changed = dict(record)
        if horizontal_flip:
            changed["image"] = flip(record["image"], seed)
        if draws:
            people = tf.io.parse_tensor(record["answers"], tf.string)
            people = tf.ensure_shape(people, [None])
            changed["answer"] = data.choose_caption(people, seed)
        return changed

    return data.build_dataset(
        source,
        split=split,
        preprocess=preprocess,
        augment=augment if horizontal_flip or draws else None,
        batch_preprocess=lambda batch: model.prepare_batch(batch, keep_records),
        batch_size=batch_size,
        training=start_step is not None,
        start_step=start_step or 0,
        **options,
    )


def _label(model: FusionClassifier, split: str) -> Callable[[tf.Tensor], dict]:
    unknown_id = len(model.class_names) if split == "test" else None
    answers = data.Vocabulary(model.class_names, unknown_id)
    return lambda answer: {"label": answers.lookup(answer)}


def _no_label(answer: tf.Tensor) -> dict:
    return {"label": tf.zeros([], tf.int32)}


def _written_answer(answer: tf.Tensor) -> dict:
    some = tf.strings.length(tf.strings.strip(answer)) > 0
    tf.debugging.Assert(some, ["The answer is empty."])
    return {"answer": answer}
