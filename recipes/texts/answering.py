"""The place in a text that answers a question."""

import functools

import numpy as np
import tensorflow as tf

import kmmft
import tfrecords_tools
from kmmft.evaluation import Example, Table
from kmmft.models import QuestionAnswerer

from .records import all_records, open_records
from .settings import Config


def open_data(config: Config) -> kmmft.data.RecordSource:
    """Opens the data, after building them from the files."""
    return open_records(
        config,
        tfrecords_tools.build_squad,
        name="questions",
        template="squad",
        schema=kmmft.data.schema.question_context,
        features={"question", "context", "answers"},
        # SQuAD keeps its test questions to itself.
        splits=("train", "validation"),
    )


def build_data(
    config: Config,
    source: kmmft.data.RecordSource,
    split: str,
    model: QuestionAnswerer,
    start_step: int | None = None,
    input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Batches to learn from; endless and shuffled if `start_step` is given."""
    return kmmft.data.build_dataset(
        source,
        split=split,
        preprocess=model.prepare_record,
        augment=model.draw_window,
        batch_preprocess=model.prepare_batch,
        **config.reading_from(start_step, input_context),
    )


def build_model(config: Config) -> QuestionAnswerer:
    encoder = kmmft.encoders.TextPairEncoder.from_preset(
        config.text_encoder, sequence_length=config.sequence_length
    )
    encoder.trainable = config.train_text_encoder
    return QuestionAnswerer(
        encoder,
        window_overlap=config.window_overlap,
        max_question_tokens=config.max_question_tokens,
        max_answer_tokens=config.max_answer_tokens,
        dropout_rate=config.dropout_rate,
    )


def run_once(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    source = open_data(config)
    with kmmft.data.clear_data_errors(source):
        known = records_of(config, source, "validation")
        model, trained = kmmft.training.fit_classifier(
            config,
            run,
            lambda: build_model(config),
            functools.partial(build_data, config, source),
            kmmft.data.steps_per_epoch(source, "train", config.batch_size),
            monitor="val_f1",
            callbacks=[AnswerEvaluator(config, known)],
        )
        model.no_answer_threshold, _ = best_threshold(config, model, known)
        split = "test" if "test" in source.splits else "validation"
        records = records_of(config, source, split)
    found = answers_to(config, model, records)
    metrics = score(model, records, found) | trained
    run.write_model(model)
    if not (run.export / "1").exists():
        card = kmmft.export.ModelCard.from_run(run, "Answers", source, metrics)
        names = ("question", "context")
        raw = {name: [record[name] for record in records[:3]] for name in names}
        kmmft.export.export_bundle(model, run.export, raw, card=card, version=1)
    chose = "" if split == "test" else ", which also chose epoch and threshold"
    kmmft.evaluation.report_examples(
        run,
        show(records, found),
        title="Answers from texts",
        metrics=metrics,
        tables=[result_table(metrics)],
        notes=f"Tested on the split {split}{chose}.",
    )
    run.write_metrics(metrics)
    return metrics


def score(model, records, found) -> dict[str, float]:
    """SQuAD's scores of the answers, and of their floor."""
    scores = kmmft.metrics.squad_metrics(
        found["best_text"],
        [record["answers"] for record in records],
        found["no_answer_probability"],
        model.no_answer_threshold,
    )
    return {
        **{f"test/{name}": value for name, value in scores.items()},
        "no_answer_threshold": model.no_answer_threshold,
        "whole_context/f1": context_floor(records),
        "peak_memory_mb": kmmft.evaluation.peak_memory_mb(),
    }


def records_of(
    config: Config, source: kmmft.data.RecordSource, split: str
) -> list[dict]:
    """All records of a split, with answers as `str`."""
    records = all_records(config, source, split)
    for record in records:
        record["answers"] = [text.decode() for text in record["answers"]]
    return records


def answers_to(config, model, records) -> dict[str, np.ndarray]:
    return model.answer(
        [record["question"] for record in records],
        [record["context"] for record in records],
        config.batch_size,
    )


def best_threshold(config, model, records) -> tuple[float, float]:
    """Above which probability of no answer there is best none, and the F1 with it."""
    found = answers_to(config, model, records)
    answers = found["best_text"], [record["answers"] for record in records]
    if all(answers[1]):  # as in SQuAD v1
        return 1.0, kmmft.metrics.squad_metrics(*answers)["f1"]
    silence = found["no_answer_probability"]
    return kmmft.metrics.best_no_answer_threshold(*answers, silence)


class AnswerEvaluator(kmmft.evaluation.EpochEvaluator):
    """F1 of the validation questions with the best threshold, after each epoch."""

    def __init__(self, config: Config, records: list[dict]):
        super().__init__()
        self.config = config
        self.records = records

    def evaluate(self, model: QuestionAnswerer) -> dict[str, float]:
        return {"f1": best_threshold(self.config, model, self.records)[1]}

    def metric_names(self) -> list[str]:
        return ["f1"]


def context_floor(records: list[dict]) -> float:
    """F1 of the whole context as the answer to everything."""
    contexts = [record["context"] for record in records]
    references = [record["answers"] for record in records]
    return kmmft.metrics.squad_metrics(contexts, references)["f1"]


def show(records, found) -> list[Example]:
    """Questions with their answers, wrong ones first."""
    _, f1 = kmmft.metrics.squad_scores_of_each(
        found["text"], [record["answers"] for record in records]
    )
    shown = []
    for row in np.argsort(f1, kind="stable")[:48]:
        record, text = records[row], found["text"][row]
        right = record["answers"] or [""]
        shown.append(
            Example(
                None,
                f"{record['question']} {record['context']}",
                (text if f1[row] == 1 else right[0]) or "(no answer)",
                text or "(no answer)",
                1 - float(found["no_answer_probability"][row]) if text else None,
                id=record["id"],
            )
        )
    return shown


def result_table(metrics: dict[str, float]) -> Table:
    """Exact match and F1, of all questions and by whether they have an answer."""
    groups = {
        "all questions": "",
        "with an answer": "/has_answer",
        "without one": "/no_answer",
    }
    rows = [
        [label, *(metrics.get(f"test/{name}{group}") for name in ("exact_match", "f1"))]
        for label, group in groups.items()
        if f"test/f1{group}" in metrics
    ]
    floor = ["the whole context (floor)", None, metrics["whole_context/f1"]]
    return Table(
        "Test questions", ["", "exact match", "F1"], [floor, *rows], highlight=1
    )
