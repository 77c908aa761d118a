"""The questions that small models learn from: those with an answer, and others."""

import dataclasses
import pathlib

import tensorflow as tf

import kmmft
import tfrecords_tools
from kmmft.models import FusionClassifier

from ..comparisons.data import open_questions
from .settings import Config


def build_data(
    config: kmmft.training.RecipeConfig,
    source: kmmft.data.RecordSource,
    split: str,
    model: FusionClassifier,
    start_step: int | None = None,
    input_context: tf.distribute.InputContext | None = None,
    **options,
) -> tf.data.Dataset:
    """Batches of (inputs, label); endless and shuffled if `start_step` is given."""
    return kmmft.models.question_batches(
        model,
        source,
        split,
        batch_size=config.batch_size,
        start_step=start_step,
        horizontal_flip=config.horizontal_flip,
        input_context=input_context,
        **config.reading(training=start_step is not None),
        **options,
    )


def build_data_for_teacher(
    config: Config,
    source: kmmft.data.RecordSource,
    unlabelled: kmmft.data.RecordSource | None,
    split: str,
    model: FusionClassifier,
    start_step: int | None = None,
    input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """The same, with questions in training that the teacher alone answers.

    Batches are (inputs, label, weight) then: of the first rows the answers count, by
    their mean, the weights of the others are 0.
    """
    if unlabelled is None or start_step is None:
        return build_data(config, source, split, model, start_step, input_context)
    own = config.labelled_rows
    parts = [
        build_data(
            dataclasses.replace(config, batch_size=size),
            records,
            split,
            model,
            start_step,
            input_context,
            labelled=labelled,
        )
        for records, size, labelled in (
            (source, own, True),
            (unlabelled, config.batch_size - own, False),
        )
    ]

    def join(batch, other):
        inputs = {k: tf.concat([x, other[0][k]], axis=0) for k, x in batch[0].items()}
        labels = [batch[1], other[1]]
        weights = [
            tf.fill(tf.shape(labels[0]), config.batch_size / own),
            tf.zeros(tf.shape(labels[1])),
        ]
        return inputs, tf.concat(labels, axis=0), tf.concat(weights, axis=0)

    options = tf.data.Options()
    options.autotune.enabled = False
    return tf.data.Dataset.zip(*parts).map(join).with_options(options)


def open_training(
    config: Config, source: kmmft.data.RecordSource, folder: pathlib.Path
) -> tuple[kmmft.data.RecordSource, kmmft.data.RecordSource | None]:
    """The data with as many training answers as the flags say, and those without."""
    unlabelled = None
    if config.unlabelled:
        unlabelled = kmmft.data.check_splits(
            open_questions(config.unlabelled, folder), ["train"]
        )
    if config.labelled_fraction == 1:
        return source, unlabelled
    directory = folder / "labelled/1.0.0"
    if not directory.exists():
        tfrecords_tools.sample_data(
            data=source.path,
            output_dir=folder,
            name="labelled",
            fraction=config.labelled_fraction,
            splits=["train"],
            seed=config.seed,
        )
    few = kmmft.data.check_splits(kmmft.data.open_source(directory), ["train"])
    splits = {**source.splits, "train": few.splits["train"]}
    return dataclasses.replace(source, splits=splits), unlabelled or source
