"""A class for each word: named entities, parts of speech."""

import dataclasses
import functools
import itertools
import pathlib

import numpy as np
import tensorflow as tf

import kmmft
import tfrecords_tools
from kmmft.evaluation import Example, Table
from kmmft.models import TokenClassifier

from .described_shapes import write_described_shapes
from .images import (
    image_encoder,
    mirroring,
    readable_records,
    reads_images,
    without_images,
)
from .records import open_records
from .settings import Config

# Rows of the table of results, by the prefix of their metrics.
ROWS = {
    "usual_tag": "most frequent tag",
    "grey_images": "this model, its images grey",
    "images_of_others": "this model, with images of other sentences",
    "test": "this model",
}


def open_data(config: Config) -> kmmft.data.RecordSource:
    """Opens the data, after building them from the files."""
    return open_records(
        config,
        functools.partial(build_records, config),
        name="sentences",
        template="conll",
        schema=kmmft.data.schema.tagged,
        features={"words", "tags"},
        splits=("train", "validation", "test"),
    )


def build_records(
    config: Config,
    files: list[str],
    output_dir: pathlib.Path,
    name: str,
    options: tfrecords_tools.BuildOptions,
) -> None:
    """Builds the data from the files, or from what is drawn."""
    folder = config.image_folder or None
    if config.files == "shapes":
        files, folder = write_described_shapes(output_dir / "files")
    tfrecords_tools.build_conll(
        files=files,
        output_dir=output_dir,
        name=name,
        image_folder=folder,
        options=options,
    )


def build_data(
    config: Config,
    source: kmmft.data.RecordSource,
    split: str,
    model: TokenClassifier,
    start_step: int | None = None,
    input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Batches to learn from; endless and shuffled if `start_step` is given."""
    return kmmft.data.build_dataset(
        source,
        split=split,
        preprocess=model.pad_record,
        augment=mirroring(config, source),
        batch_preprocess=model.prepare_batch,
        **config.reading_from(start_step, input_context),
    )


def build_model(config: Config, source: kmmft.data.RecordSource) -> TokenClassifier:
    encoder = kmmft.encoders.TextEncoder.from_preset(
        config.text_encoder, sequence_length=config.sequence_length
    )
    encoder.trainable = config.train_text_encoder
    return TokenClassifier(
        encoder,
        source.features["tags"].feature.names,
        config.dropout_rate,
        image_encoder=image_encoder(config, source),
        num_layers=config.num_layers,
        num_heads=config.num_heads,
    )


@dataclasses.dataclass(frozen=True)
class Sentences:
    """The sentences of a split; `images` is None where the model reads none."""

    ids: list[str]
    words: list[list[str]]
    tags: list[list[str]]
    images: list[bytes] | None

    @classmethod
    def read(cls, config: Config, source: kmmft.data.RecordSource, split: str):
        names = source.features["tags"].feature.names
        records = readable_records(config, source, split)
        with_images = reads_images(config, source)
        return cls(
            [record["id"] for record in records],
            [[word.decode() for word in record["words"]] for record in records],
            [[names[tag] for tag in record["tags"]] for record in records],
            [record["image"] for record in records] if with_images else None,
        )


class EntityEvaluator(kmmft.evaluation.EpochEvaluator):
    """Entity F1 of the validation sentences, after each epoch."""

    def __init__(self, config: Config, source: kmmft.data.RecordSource):
        super().__init__()
        self.batch_size = config.batch_size
        self.known = Sentences.read(config, source, "validation")

    def evaluate(self, model: TokenClassifier) -> dict[str, float]:
        known = self.known
        predicted = model.tag(known.words, self.batch_size, known.images)
        scores = kmmft.metrics.entity_metrics(known.tags, predicted)
        return {"entity_f1": scores["entity_f1"]}

    def metric_names(self) -> list[str]:
        return ["entity_f1"]


def run_once(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    source = open_data(config)
    names = source.features["tags"].feature.names
    with kmmft.data.clear_data_errors(source):
        model, trained = kmmft.training.fit_classifier(
            config,
            run,
            lambda: build_model(config, source),
            functools.partial(build_data, config, source),
            kmmft.data.steps_per_epoch(source, "train", config.batch_size),
            monitor="val_entity_f1" if "O" in names else "val_accuracy",
            callbacks=[EntityEvaluator(config, source)] if "O" in names else [],
        )
        tested = Sentences.read(config, source, "test")
    predicted, metrics = test(config, source, model, tested)
    metrics |= trained
    metrics["peak_memory_mb"] = kmmft.evaluation.peak_memory_mb()
    run.write_model(model)
    if not (run.export / "1").exists():
        card = kmmft.export.ModelCard.from_run(run, "Tagged words", source, metrics)
        raw = {"text": [" ".join(sentence) for sentence in tested.words[:3]]}
        raw |= {"image": tested.images[:3]} if tested.images else {}
        kmmft.export.export_bundle(model, run.export, raw, card=card, version=1)
    kmmft.evaluation.report_examples(
        run,
        show(tested, predicted),
        title="Tagged words",
        metrics=metrics,
        tables=[result_table(metrics)],
    )
    run.write_metrics(metrics)
    return metrics


def test(
    config: Config,
    source: kmmft.data.RecordSource,
    model: TokenClassifier,
    tested: Sentences,
) -> tuple[list[list[str]], dict[str, float]]:
    """Tags of the test split, and scores: also of every word with its usual tag, and
    of what the model finds where the images tell nothing."""
    every_word = np.concatenate(tested.tags)
    usual = usual_tag(source)
    metrics = {"usual_tag/accuracy": float(np.mean(every_word == usual))}
    answers = {}
    for name, images in {
        "test": tested.images,
        **without_images(tested.images),
    }.items():
        found = model.tag(tested.words, config.batch_size, images)
        right = every_word == np.concatenate(found)
        metrics[f"{name}/accuracy"] = float(np.mean(right))
        if "O" in model.tag_names:
            scores = kmmft.metrics.entity_metrics(tested.tags, found)
            metrics |= {f"{name}/{key}": score for key, score in scores.items()}
        answers[name] = found
    return answers["test"], metrics


def usual_tag(source: kmmft.data.RecordSource) -> str:
    """The most frequent tag of the training data."""
    names = source.features["tags"].feature.names
    counts = np.bincount(training_tags(source), minlength=len(names))
    return names[int(counts.argmax())]


def training_tags(source: kmmft.data.RecordSource) -> np.ndarray:
    tags = kmmft.data.read_records(source, "train", on_error="skip").map(
        lambda record: kmmft.data.parse_record(record, source.features)["tags"]
    )
    return np.fromiter(
        itertools.chain.from_iterable(tags.as_numpy_iterator()), np.int64
    )


def show(tested: Sentences, predicted: list[list[str]]) -> list[Example]:
    """Sentences with their tags, those with mistakes first."""
    pairs = zip(tested.tags, predicted, strict=True)
    wrong = [right != found for right, found in pairs]
    return [
        Example(
            tested.images[row] if tested.images else None,
            " ".join(tested.words[row]),
            tagged(tested.words[row], tested.tags[row]),
            tagged(tested.words[row], predicted[row]),
            id=tested.ids[row],
        )
        for row in np.argsort(~np.array(wrong), kind="stable")[:48]
    ]


def tagged(words: list[str], tags: list[str]) -> str:
    """Words with their tags, without those outside of entities."""
    pairs = zip(words, tags, strict=True)
    return " ".join(f"{word}/{tag}" for word, tag in pairs if tag != "O")


def result_table(metrics: dict[str, float]) -> Table:
    """The test split's result above its floors."""
    columns = {
        "accuracy": "words",
        "entity_precision": "entity precision",
        "entity_recall": "entity recall",
        "entity_f1": "entity F1",
    }
    rows = [
        [label, *(metrics.get(f"{prefix}/{column}") for column in columns)]
        for prefix, label in ROWS.items()
        if f"{prefix}/accuracy" in metrics
    ]
    return Table("Test split", ["", *columns.values()], rows, highlight=len(rows) - 1)
