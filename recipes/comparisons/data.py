"""The examples of the comparisons: finds or makes records, and decodes them."""

import logging
import os
import pathlib
from collections.abc import Callable

import keras
import numpy as np

import kmmft
import tfrecords_tools
from tfrecords_tools.sources import open_clip_art_classes

from ..made.records import drawn_shapes, easy_vqa

logger = logging.getLogger(__name__)

# One picture of a group of near-duplicates, equally many of each kind.
OTHER_DRAWINGS = {
    "classes": open_clip_art_classes.OTHER_CLASSES,
    "validation_per_class": 0,
    "test_per_class": 23,
}


def open_questions(name: str, folder: pathlib.Path) -> kmmft.data.RecordSource:
    """Opens questions about images: easy_vqa, shapes, or a directory."""
    directory = name
    if name == "easy_vqa":
        directory = easy_vqa()
    elif name == "shapes":
        directory = drawn_shapes(
            folder / "asked",
            question_column="question",
            answer_column="answer",
            id_column="id",
        )
    return kmmft.data.open_source(directory, kmmft.data.schema.image_question_answer())


def open_labelled(
    name: str, folder: pathlib.Path, other: bool = False
) -> kmmft.data.RecordSource:
    """Opens labelled images: open_clip_art, its other kinds, shapes or a directory."""
    directory = name
    if name == "open_clip_art":
        directory = folder / ("other/1.0.0" if other else "drawings/1.0.0")
        if not directory.exists():
            tfrecords_tools.build_open_clip_art_classes(
                output_dir=folder,
                name=directory.parent.name,
                **(OTHER_DRAWINGS if other else {}),
            )
    elif name == "shapes":
        directory = drawn_shapes(folder / "named", label_column="caption")
    schema = kmmft.data.schema.labelled(text=False, class_names=["any"])
    return kmmft.data.open_source(directory, schema)


def has_questions(name: str) -> bool:
    """Whether these are questions about images, and not labelled images."""
    if name in ("open_clip_art", "shapes"):
        return False
    if name == "easy_vqa":
        return True
    # Shards that do not know their features are labelled images.
    known = os.path.isdir(name)
    return known and "question" in kmmft.data.open_source(name).features


def load_examples(
    source: kmmft.data.RecordSource,
    split: str,
    model: kmmft.models.FusionClassifier,
    *,
    max_examples: int,
    max_bad_fraction: float,
    change: Callable[[dict], dict] = lambda record: record,
) -> kmmft.data.Examples:
    """Decodes a split as the model wants it; `change` may alter the raw records.

    An answer that the model does not know counts as wrong; in training it is bad data.
    """
    answers = None
    if "answer" in source.features:
        unknown_id = None if split == "train" else len(model.class_names)
        answers = kmmft.data.Vocabulary(model.class_names, unknown_id)

    def preprocess(record):
        decoded = model.decode_record(change(record))
        if answers is None:
            return decoded
        return {**decoded, "label": answers.lookup(record["answer"])}

    dataset = kmmft.data.build_dataset(
        source,
        split=split,
        preprocess=preprocess,
        batch_preprocess=model.prepare_batch,
        batch_size=64,
        training=False,
        max_bad_fraction=max_bad_fraction,
    )
    with kmmft.data.clear_data_errors(source):
        return kmmft.data.Examples.collect(dataset, max_examples)


def accuracy(model: keras.Model, examples: kmmft.data.Examples) -> float:
    """Share of the examples whose highest logit is that of the label.

    Where logits are not finite there is no answer, which is wrong: it would else be
    the first class, and look like chance.
    """
    logits = model.predict(examples.inputs, batch_size=64, verbose=0)
    answered = np.isfinite(logits).all(axis=-1)
    if not answered.all():
        logger.warning(
            "%d of %d answers are not finite and count as wrong: training diverged",
            len(answered) - answered.sum(),
            len(answered),
        )
    return float((answered & (logits.argmax(axis=-1) == examples.labels)).mean())
