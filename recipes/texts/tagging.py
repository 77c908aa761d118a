"""A class for each word: named entities, parts of speech."""

import functools
import itertools

import numpy as np
import tensorflow as tf

import kmmft
import tfrecords_tools
from kmmft.evaluation import Example, Table
from kmmft.models import TokenClassifier

from .records import all_records, open_records
from .settings import Config


def open_data(config: Config) -> kmmft.data.RecordSource:
    """Opens the data, after building them from the files."""
    return open_records(
        config,
        tfrecords_tools.build_conll,
        name="sentences",
        template="conll",
        schema=kmmft.data.schema.tagged,
        features={"words", "tags"},
        splits=("train", "validation", "test"),
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
        batch_preprocess=model.prepare_batch,
        **config.reading_from(start_step, input_context),
    )


def build_model(config: Config, tag_names: list[str]) -> TokenClassifier:
    encoder = kmmft.encoders.TextEncoder.from_preset(
        config.text_encoder, sequence_length=config.sequence_length
    )
    encoder.trainable = config.train_text_encoder
    return TokenClassifier(encoder, tag_names, config.dropout_rate)


def sentences(
    config: Config, source: kmmft.data.RecordSource, split: str
) -> tuple[list[list[str]], list[list[str]], list[str]]:
    """Words, tags and ids of a split's sentences."""
    names = source.features["tags"].feature.names
    records = all_records(config, source, split)
    words = [[word.decode() for word in record["words"]] for record in records]
    tags = [[names[tag] for tag in record["tags"]] for record in records]
    return words, tags, [record["id"] for record in records]


class EntityEvaluator(kmmft.evaluation.EpochEvaluator):
    """Entity F1 of the validation sentences, after each epoch."""

    def __init__(self, config: Config, source: kmmft.data.RecordSource):
        super().__init__()
        self.batch_size = config.batch_size
        self.words, self.targets, _ = sentences(config, source, "validation")

    def evaluate(self, model: TokenClassifier) -> dict[str, float]:
        predicted = model.tag(self.words, self.batch_size)
        scores = kmmft.metrics.entity_metrics(self.targets, predicted)
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
            lambda: build_model(config, names),
            functools.partial(build_data, config, source),
            kmmft.data.steps_per_epoch(source, "train", config.batch_size),
            monitor="val_entity_f1" if "O" in names else "val_accuracy",
            callbacks=[EntityEvaluator(config, source)] if "O" in names else [],
        )
        words, targets, ids = sentences(config, source, "test")
    predicted = model.tag(words, config.batch_size)
    metrics = score(source, targets, predicted, names) | trained
    metrics["peak_memory_mb"] = kmmft.evaluation.peak_memory_mb()
    run.write_model(model)
    if not (run.export / "1").exists():
        card = kmmft.export.ModelCard.from_run(run, "Tagged words", source, metrics)
        raw = {"text": [" ".join(sentence) for sentence in words[:3]]}
        kmmft.export.export_bundle(model, run.export, raw, card=card, version=1)
    kmmft.evaluation.report_examples(
        run,
        show(ids, words, targets, predicted),
        title="Tagged words",
        metrics=metrics,
        tables=[result_table(metrics)],
    )
    run.write_metrics(metrics)
    return metrics


def score(source, targets, predicted, names) -> dict[str, float]:
    """The test split's scores, and those of every word with its usual tag."""
    flat = [np.concatenate(tags) for tags in (targets, predicted)]
    metrics = {"test/accuracy": float(np.mean(flat[0] == flat[1]))}
    counts = np.bincount(training_tags(source), minlength=len(names))
    usual = names[int(counts.argmax())]
    metrics["usual_tag/accuracy"] = float(np.mean(flat[0] == usual))
    if "O" in names:
        found = kmmft.metrics.entity_metrics(targets, predicted)
        metrics |= {f"test/{name}": value for name, value in found.items()}
    return metrics


def training_tags(source: kmmft.data.RecordSource) -> np.ndarray:
    tags = kmmft.data.read_records(source, "train", on_error="skip").map(
        lambda record: kmmft.data.parse_record(record, source.features)["tags"]
    )
    return np.fromiter(
        itertools.chain.from_iterable(tags.as_numpy_iterator()), np.int64
    )


def show(ids, words, targets, predicted) -> list[Example]:
    """Sentences with their tags, those with mistakes first."""
    wrong = [right != found for right, found in zip(targets, predicted, strict=True)]
    return [
        Example(
            None,
            " ".join(words[row]),
            tagged(words[row], targets[row]),
            tagged(words[row], predicted[row]),
            id=ids[row],
        )
        for row in np.argsort(~np.array(wrong), kind="stable")[:48]
    ]


def tagged(words: list[str], tags: list[str]) -> str:
    """Words with their tags, without those outside of entities."""
    pairs = zip(words, tags, strict=True)
    return " ".join(f"{word}/{tag}" for word, tag in pairs if tag != "O")


def result_table(metrics: dict[str, float]) -> Table:
    """The test split's result above its floor."""
    columns = {
        "accuracy": "words",
        "entity_precision": "entity precision",
        "entity_recall": "entity recall",
        "entity_f1": "entity F1",
    }
    names = {"usual_tag": "most frequent tag", "test": "this model"}
    return Table(
        "Test split",
        ["", *columns.values()],
        [
            [label, *(metrics.get(f"{prefix}/{column}") for column in columns)]
            for prefix, label in names.items()
        ],
        highlight=1,
    )
