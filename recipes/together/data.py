"""The records of each task, from directories or made on the spot, and their batches."""

import functools
import pathlib
from collections.abc import Callable

import keras
import tensorflow as tf

import kmmft

from ..made.records import drawn_shapes, easy_vqa
from .settings import Config

# What a directory is called on the command line, and what its records are.
SCHEMAS = {
    "pairs": kmmft.data.schema.image_text,
    "questions": kmmft.data.schema.image_question_answer,
    "labelled": functools.partial(
        kmmft.data.schema.labelled, text=False, class_names=["any"]
    ),
}
KINDS = {
    "match": "pairs",
    "caption": "pairs",
    "answer": "questions",
    "classify": "labelled",
}
EASY_VQA = {
    "pairs": "easy_vqa_captions",
    "questions": "easy_vqa",
    "labelled": "easy_vqa_classes",
}
# Columns of the drawn shapes' manifest.
COLUMNS = {
    "pairs": {"caption_column": "caption"},
    "questions": {"question_column": "question", "answer_column": "answer"},
    "labelled": {"label_column": "caption"},
}


def open_data(config: Config) -> dict[str, kmmft.data.RecordSource]:
    """Opens the records of each task, after building those that the recipe makes."""
    kinds = dict.fromkeys(KINDS[task] for task in config.task_names())
    given = {kind: getattr(config, kind) for kind in kinds}
    if bool(config.data) == any(given.values()):
        raise ValueError(
            "Either `--data easy_vqa` or `--data shapes` must be given, or a directory "
            f"for each of {', '.join(given)}. Received: data={config.data!r}, {given}."
        )
    if config.data not in ("", "easy_vqa", "shapes"):
        raise ValueError(
            "`--data` must be easy_vqa or shapes. Received: "
            f"{config.data!r}. Name directories by --pairs, --questions, --labelled."
        )
    if not config.data and not all(given.values()):
        missing = [f"`--{kind}`" for kind, path in given.items() if not path]
        raise ValueError(
            f"The tasks {config.tasks} need {' and '.join(missing)}. Received: "
            f"{given}. Name the directories, or leave tasks out of `--tasks`."
        )
    sources = {
        kind: kmmft.data.check_splits(
            kmmft.data.open_source(path or _made(config, kind), SCHEMAS[kind]())
        )
        for kind, path in given.items()
    }
    return {task: sources[KINDS[task]] for task in config.task_names()}


def _made(config: Config, kind: str) -> pathlib.Path:
    if config.data == "easy_vqa":
        return easy_vqa(EASY_VQA[kind])
    folder = pathlib.Path(config.output_dir, "data")
    return drawn_shapes(folder, kind, id_column="id", **COLUMNS[kind])


def task_batches(
    config: Config,
    task: str,
    source: kmmft.data.RecordSource,
    split: str,
    model: keras.Model,
    start_step: int | None = None,
    keep_records: bool = False,
) -> tf.data.Dataset:
    """Batches of one task; endless and shuffled if `start_step` is given."""
    reading = config.reading_from(start_step)
    if task == "answer":
        del reading["training"], reading["start_step"]
        return kmmft.models.question_batches(
            model,
            source,
            split,
            start_step=start_step,
            keep_records=keep_records,
            **reading,
        )
    preprocess, augment = _decoding(task, model, training=start_step is not None)
    return kmmft.data.build_dataset(
        source,
        split=split,
        preprocess=preprocess,
        augment=augment,
        batch_preprocess=lambda batch: (
            model.prepare_batch(batch, True)
            if keep_records
            else model.prepare_batch(batch)
        ),
        **reading,
    )


def _decoding(
    task: str, model: keras.Model, training: bool
) -> tuple[Callable, Callable | None]:
    """What is done with a record, and in training with each epoch's copy of it."""
    if task == "classify":
        return model.decode_record, None

    def with_caption(record, seed=None):
        text = kmmft.data.choose_caption(record["captions"], seed)
        return {
            "image": record["image"],
            "text" if task == "match" else "caption": text,
            # The same words for two images: neither is the other's negative.
            "example_group": tf.strings.to_hash_bucket_fast(text, 2**62),
        }

    if training:
        return model.decode_record, with_caption
    return lambda record: with_caption(model.decode_record(record)), None


def training_batches(
    config: Config,
    sources: dict[str, kmmft.data.RecordSource],
    models: dict[str, keras.Model],
    start_step: int,
) -> tf.data.Dataset:
    """Endless batches of all models' tasks, `batch_size` examples of each."""

    def batches_of(task):
        def batches(batch_size: int, start_step: int) -> tf.data.Dataset:
            # Parts are equal: each is as large as the settings say.
            return task_batches(
                config, task, sources[task], "train", models[task], start_step
            )

        return batches

    return kmmft.data.mix_tasks(
        {task: batches_of(task) for task in models},
        config.batch_size * len(models),
        sampling=dict.fromkeys(models, 1.0),
        start_step=start_step,
    )
