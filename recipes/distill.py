"""Distils a trained visual question answering model into smaller towers.

The teacher is a run of `recipes.visual_question_answering`, or is trained here first.
The student has some layers of its text encoder, the first stages of its image encoder
and a new, narrower head. It learns from the answers and from how likely the teacher
finds all others; beside it the same student learns from the answers alone, on the same
data for as long. With few answers and many questions (`--labelled_fraction`, or
`--unlabelled` for records of your own) the teacher answers what nobody did.

    python -m recipes.visual_question_answering --preset quickstart
    python -m recipes.distill --preset quickstart
    python -m recipes.distill --preset few_labels

The report compares teacher and students by accuracy, size and latency.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import keras

import kmmft
from kmmft.evaluation import Predictions, Table
from kmmft.models import FusionClassifier

from .comparisons.data import open_questions
from .smaller.data import build_data, build_data_for_teacher, open_training
from .smaller.layers import spread
from .smaller.measuring import measured, served_export, test, with_prefix
from .smaller.settings import PRESETS, Config

MODALITIES = ("image", "question")


def classifier(
    config: Config, encoders: dict[str, keras.Model], class_names: list[str]
) -> FusionClassifier:
    for name, encoder in encoders.items():
        trains = config.train_image_encoder
        encoder.trainable = trains if name == "image" else config.train_text_encoder
    return FusionClassifier(
        encoders,
        fusion=kmmft.layers.BilinearFusion(config.hidden_dim),
        class_names=class_names,
        hidden_dims=(config.head_dim,),
        dropout_rate=config.dropout_rate,
    )


def build_teacher(config: Config, class_names: list[str]) -> FusionClassifier:
    """A teacher that is still to be trained."""
    image = kmmft.encoders.ImageEncoder.from_preset(
        config.image_encoder, image_size=config.image_size
    )
    question = kmmft.encoders.TextEncoder.from_preset(
        config.text_encoder, sequence_length=config.sequence_length
    )
    return classifier(config, {"image": image, "question": question}, class_names)


def build_student(config: Config, teacher: FusionClassifier) -> FusionClassifier:
    """Parts of the teacher's encoders, and a new head."""
    if set(teacher.encoders) != set(MODALITIES):
        raise ValueError(
            f"`--teacher` must see {' and '.join(MODALITIES)}. Received: one of "
            f"{list(teacher.encoders)}."
        )
    encoders = {}
    for modality, flag in (("image", "image_layers"), ("question", "text_layers")):
        encoder = kmmft.finetuning.starting_copy(teacher.encoders[modality])
        if count := getattr(config, flag):
            kept = spread(encoder, count, flag)
            encoder = kmmft.finetuning.keep_layers(encoder, kept)
        if modality == "image" and config.image_cut:
            encoder = kmmft.finetuning.cut_image_encoder(encoder, config.image_cut)
        encoders[modality] = encoder
    student = classifier(config, encoders, teacher.class_names)
    if config.hidden_sparsity:
        student = kmmft.finetuning.prune_hidden_units(student, config.hidden_sparsity)
    return student


def train_and_test(
    config: Config,
    source: kmmft.data.RecordSource,
    build: Callable[[], FusionClassifier],
    run: kmmft.training.RunDirectory,
    teacher: FusionClassifier | None = None,
    unlabelled: kmmft.data.RecordSource | None = None,
) -> tuple[FusionClassifier, Predictions, dict[str, float]]:
    """Trains a model on the answers of `source`, and on what a teacher says."""

    def build_with_teacher() -> FusionClassifier:
        model = build()
        if teacher is not None:
            model.step_options = [
                kmmft.finetuning.SelfDistillation(
                    teacher, config.distillation_weight, config.temperature
                )
            ]
        return model

    data = functools.partial(build_data_for_teacher, config, source, unlabelled)
    model, trained = kmmft.training.fit_classifier(
        config,
        run,
        build_with_teacher,
        data,
        kmmft.data.steps_per_epoch(source, "train", config.batch_size),
        # Without the questions of which nobody told the answer.
        **({"metrics": [], "weighted_metrics": ["accuracy"]} if unlabelled else {}),
    )
    data = build_data(config, source, "test", model, keep_records=True)
    predictions, tested = test(model, data)
    return model, predictions, {**tested, **trained}


def get_teacher(
    config: Config, source: kmmft.data.RecordSource, run: kmmft.training.RunDirectory
) -> FusionClassifier:
    """Loads the teacher, or trains one in the run's directory."""
    if config.teacher:
        with kmmft.training.make_strategy(config.strategy).scope():
            teacher = kmmft.models.load_fusion_classifier(config.teacher)
    else:
        answers = kmmft.data.Vocabulary.load_or_build(source, "train", "answer")
        build = functools.partial(build_teacher, config, answers.entries)
        with kmmft.training.RunDirectory(run.path / "teacher", config) as own:
            teacher, *_ = train_and_test(config, source, build, own)
            own.write_model(teacher)
    teacher.trainable = False
    return teacher


def export_student(
    student: FusionClassifier,
    source: kmmft.data.RecordSource,
    run: kmmft.training.RunDirectory,
    metrics: dict[str, float],
    raw: dict[str, list],
) -> None:
    """Exports the student with all that serving it needs."""
    if (run.export / "1").exists():
        return
    card = kmmft.export.ModelCard.from_run(
        run, "Distilled visual question answering", source, metrics
    )
    trained_on = kmmft.data.first_records(source, "train", 300, on_error="skip")
    kmmft.export.export_bundle(
        student,
        run.export,
        raw,
        card=card,
        version=1,
        training_sample=student.raw_columns(trained_on),
    )


def comparison_table(metrics: dict[str, float]) -> Table:
    """Teacher, student, and the student that had no teacher."""
    rows = [
        ("teacher", "teacher/", "teacher/"),
        ("student alone", "alone/", ""),  # measured once: of one size
        ("student", "", ""),
    ]
    served = ("size_mb", "latency_ms/batch_1", "latency_ms/batch_32")
    return Table(
        "Distillation",
        ["model", "accuracy", "agrees", "parameters", "MB", "ms, 1 row", "ms, 32"],
        [
            [
                name,
                metrics[f"{own}test/accuracy"],
                metrics.get(f"{own}test/agreement"),
                metrics[f"{own}parameters"],
                *(metrics.get(f"{size}{key}") for key in served),
            ]
            for name, own, size in rows
        ],
        highlight=2,
        note=f"{metrics['labels']:,} labels. `student alone` had no teacher. Both "
        "students have one form and the same first weights. `agrees`: share of test "
        "questions with the teacher's answer. MB and ms: of the served model, from "
        f"JPEG and string to answer. {over_seeds(metrics)}",
    )


def over_seeds(metrics: dict[str, float]) -> str:
    """A sentence on the accuracy's spread, if there is more than one seed."""
    if "seeds" not in metrics:
        return ""
    student, alone = (
        f"{metrics[f'{own}seeds/accuracy']:.2%} ± "
        f"{metrics[f'{own}seeds/accuracy_deviation']:.2%}"
        for own in ("", "alone/")
    )
    return (
        f"Over {metrics['seeds']} seeds, mean and deviation: student {student}, alone "
        f"{alone}."
    )


def main(config: Config) -> dict[str, float]:
    """Trains, tests, reports and exports; returns what metrics.json holds."""
    return kmmft.evaluation.show_run(config, run_once, comparison_table)


def train_students(
    config: Config,
    source: kmmft.data.RecordSource,
    teacher: FusionClassifier,
    right: Predictions,
    run: kmmft.training.RunDirectory,
) -> tuple[FusionClassifier, Predictions, dict[str, float]]:
    """The student, and beside it the same one without a teacher."""
    labelled, unlabelled = open_training(config, source, run.path / "data")
    build = functools.partial(build_student, config, teacher)
    with kmmft.training.RunDirectory(run.path / "alone", config) as own:
        _, answers, alone = train_and_test(config, labelled, build, own)
    student, predictions, metrics = train_and_test(
        config, labelled, build, run, teacher, unlabelled
    )
    alone["test/agreement"] = float((answers.classes == right.classes).mean())
    metrics["test/agreement"] = float((predictions.classes == right.classes).mean())
    metrics["labels"] = labelled.splits["train"].num_records
    return student, predictions, metrics | with_prefix("alone", alone)


def train_again(
    config: Config,
    source: kmmft.data.RecordSource,
    teacher: FusionClassifier,
    right: Predictions,
    run: kmmft.training.RunDirectory,
    first: dict[str, float],
) -> dict[str, float]:
    """Both students with further seeds: mean and deviation of the accuracy."""
    found = [first]
    for seed in range(config.seed + 1, config.seed + config.seeds):
        changed = dataclasses.replace(config, seed=seed)
        with kmmft.training.RunDirectory(run.path / f"seed_{seed}", changed) as again:
            *_, metrics = train_students(changed, source, teacher, right, again)
        found.append(metrics)
    if config.seeds == 1:
        return {}
    over = {"seeds": config.seeds}
    for own in ("", "alone/"):
        values = [metrics[f"{own}test/accuracy"] for metrics in found]
        mean, deviation = kmmft.evaluation.mean_and_deviation(values)
        over[f"{own}seeds/accuracy"] = mean
        over[f"{own}seeds/accuracy_deviation"] = deviation
    return over


def run_once(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    folder = pathlib.Path(config.output_dir, "data")
    source = kmmft.data.check_splits(open_questions(config.data, folder))
    # What cannot be opened must not cost a teacher's training.
    open_training(config, source, run.path / "data")
    with kmmft.data.clear_data_errors(source):
        teacher = get_teacher(config, source, run)
        data = build_data(config, source, "test", teacher, keep_records=True)
        right, of_teacher = test(teacher, data)
        student, predictions, metrics = train_students(
            config, source, teacher, right, run
        )
        metrics |= train_again(config, source, teacher, right, run, metrics)
    run.write_model(student)
    raw = student.raw_columns(
        kmmft.data.first_records(source, "test", 3, on_error="skip")
    )
    served = served_export(config.teacher, run, "teacher_export")
    metrics |= with_prefix("teacher", of_teacher | measured(teacher, served, raw))
    metrics["peak_memory_mb"] = kmmft.evaluation.peak_memory_mb()
    export_student(student, source, run, metrics, raw)
    metrics |= measured(student, run.export, raw)
    kmmft.evaluation.report_classifier(
        run,
        predictions,
        title="Distillation",
        source=source,
        split="test",
        class_names=predictions.class_names(student.class_names),
        text="question",
        metrics=metrics,
        tables=[comparison_table(metrics)],
        notes=__doc__.split("\n", 1)[0],
    )
    run.write_metrics(metrics)
    return metrics


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
