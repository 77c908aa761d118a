"""Batches of questions about images and their answers, for a classifier."""

from typing import Any

import tensorflow as tf

from kmmft import data
from kmmft.models.fusion_classifier import FusionClassifier


def question_batches(
    model: FusionClassifier,
    source: data.RecordSource,
    split: str,
    *,
    batch_size: int,
    start_step: int | None = None,
    horizontal_flip: bool = False,
    keep_records: bool = False,
    **options: Any,
) -> tf.data.Dataset:
    """Batches of (inputs, label); endless and shuffled if `start_step` is given.

    A record without a question, or of the splits but `test` with an answer that is no
    class of the model, is bad. A test question that nobody could answer has the label
    `len(class_names)`, so that it counts as wrong.

    Args:
        model: Its encoders are of features of the records, its classes answers.
        source: Records of `kmmft.data.schema.image_question_answer`.
        split: Name of the split.
        batch_size: Examples of a batch, over all devices together.
        start_step: Batches of the training that were seen before.
        horizontal_flip: Whether training images are mirrored at random.
        keep_records: Whether batches are dicts with the records' other features.
        options: Further ones of `kmmft.data.build_dataset`, such as `seed`.

    Returns:
        `tf.data.Dataset`.

    Example::

        batches = kmmft.models.question_batches(model, source, "train",
            batch_size=64, start_step=0, horizontal_flip=True)
    """
    unknown_id = len(model.class_names) if split == "test" else None
    answers = data.Vocabulary(model.class_names, unknown_id)
    flip = data.ImageAugmentation(
        crop_area=(1, 1), brightness=0.0, contrast=0.0, saturation=0.0
    )

    def preprocess(record):
        asked = tf.strings.length(tf.strings.strip(record["question"])) > 0
        tf.debugging.Assert(asked, ["The question is empty."])
        label = answers.lookup(record["answer"])
        return {**model.decode_record(record), "label": label}

    def augment(record, seed):
        return {**record, "image": flip(record["image"], seed)}

    return data.build_dataset(
        source,
        split=split,
        preprocess=preprocess,
        augment=augment if horizontal_flip else None,
        batch_preprocess=lambda batch: model.prepare_batch(batch, keep_records),
        batch_size=batch_size,
        training=start_step is not None,
        start_step=start_step or 0,
        **options,
    )
