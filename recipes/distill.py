"""Distils a trained visual question answering model into smaller towers.

The teacher is a run of `recipes.visual_question_answering`, or is trained here first.
The student has some layers of its text encoder, the first stages of its image encoder
and a new, narrower head. It learns from the answers and from how likely the teacher
finds all others; beside it the same student learns from the answers alone, on the same
data for as long.

    python -m recipes.visual_question_answering --preset quickstart
    python -m recipes.distill --preset quickstart

The report compares teacher and students by accuracy, size and latency.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import keras
import tensorflow as tf

import kmmft
from kmmft.evaluation import Predictions, Table
from kmmft.models import FusionClassifier

from .comparisons.data import open_questions


@dataclasses.dataclass(frozen=True)
class Config(kmmft.training.RecipeConfig):
    """Settings of one run. `image_size`, `sequence_length` and encoders are those of a
    teacher that is trained here; a given one has its own."""

    data: str = "easy_vqa"
    """TFDS directory; easy_vqa for the data of the pip package easy-vqa; shapes for
    small pictures that are drawn on the spot."""
    output_dir: str = "runs/distill"
    """Directory of the run. The same command goes on with a run that was killed."""
    teacher: str = "runs/quickstart"
    """Run directory of recipes.visual_question_answering, or a .keras file; empty to
    train one first."""
    text_layers: int = 3
    """Layers of the student's text transformer, taken evenly from the teacher's; 0 for
    all."""
    image_layers: int = 0
    """Likewise of an image transformer."""
    image_cut: str = "block4c_add"
    """Layer of the teacher's image backbone with which the student's ends; empty for
    the whole backbone."""
    hidden_sparsity: float = 0.0
    """Share of the hidden units in the transformers' feed-forwards that go."""
    hidden_dim: int = 256
    """Width of the fusion layer."""
    head_dim: int = 128
    """Width of the layer between fusion and answers."""
    dropout_rate: float = 0.1
    """Dropout in the head."""
    distillation_weight: float = 1.0
    """Weight of what the teacher says, beside 1 for the answers."""
    temperature: float = 2.0
    """Softens both models' probabilities; with more, small ones count more."""
    horizontal_flip: bool = True
    """Whether training images are mirrored at random."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("text_layers", "image_layers"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"`--{name}` must not be negative. Received: {getattr(self, name)}."
                )
        if not 0 <= self.hidden_sparsity < 1:
            raise ValueError(
                f"`--hidden_sparsity` must be in [0, 1). "
                f"Received: {self.hidden_sparsity}."
            )


PRESETS = {
    "quickstart": Config(
        train_text_encoder=False,
        image_size=64,
        sequence_length=12,
        epochs=1,
        validations_per_epoch=4,
        learning_rate=2e-3,
    ),
    "smoke": Config(
        data="shapes",
        output_dir="runs/distill_smoke",
        teacher="",
        image_cut="block3b_add",
        text_layers=1,
        train_text_encoder=False,
        image_size=64,
        sequence_length=12,
        hidden_dim=64,
        head_dim=64,
        dropout_rate=0.0,
        epochs=3,
        batch_size=16,
        learning_rate=3e-3,
        max_bad_fraction=0.0,
    ),
}
MODALITIES = ("image", "question")


def build_data(
    config: Config,
    source: kmmft.data.RecordSource,
    split: str,
    model: FusionClassifier,
    start_step: int | None = None,
    input_context: tf.distribute.InputContext | None = None,
    keep_records: bool = False,
) -> tf.data.Dataset:
    """Batches of (inputs, label); endless and shuffled if `start_step` is given."""
    return kmmft.models.question_batches(
        model,
        source,
        split,
        batch_size=config.batch_size,
        start_step=start_step,
        horizontal_flip=config.horizontal_flip,
        keep_records=keep_records,
        input_context=input_context,
        **config.reading(training=start_step is not None),
    )


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
    for modality, layers in (
        ("image", config.image_layers),
        ("question", config.text_layers),
    ):
        encoder = kmmft.finetuning.starting_copy(teacher.encoders[modality])
        if layers:
            of = getattr(encoder.backbone, "num_layers", layers)
            encoder = kmmft.finetuning.keep_layers(encoder, spread(layers, of))
        if modality == "image" and config.image_cut:
            encoder = kmmft.finetuning.cut_image_encoder(encoder, config.image_cut)
        encoders[modality] = encoder
    student = classifier(config, encoders, teacher.class_names)
    if config.hidden_sparsity:
        student = kmmft.finetuning.prune_hidden_units(student, config.hidden_sparsity)
    return student


def spread(count: int, layers: int) -> list[int]:
    """Numbers of so many layers, evenly spaced from the first one on."""
    return [number * layers // count for number in range(count)]


def train_and_test(
    config: Config,
    source: kmmft.data.RecordSource,
    build: Callable[[], FusionClassifier],
    run: kmmft.training.RunDirectory,
    teacher: FusionClassifier | None = None,
) -> tuple[FusionClassifier, Predictions, dict[str, float]]:
    def build_with_teacher() -> FusionClassifier:
        model = build()
        if teacher is not None:
            model.step_options = [
                kmmft.finetuning.SelfDistillation(
                    teacher, config.distillation_weight, config.temperature
                )
            ]
        return model

    model, trained = kmmft.training.fit_classifier(
        config,
        run,
        build_with_teacher,
        functools.partial(build_data, config, source),
        kmmft.data.steps_per_epoch(source, "train", config.batch_size),
    )
    predictions, tested = test(config, source, model)
    return model, predictions, {**tested, **trained}


def test(
    config: Config, source: kmmft.data.RecordSource, model: FusionClassifier
) -> tuple[Predictions, dict[str, float]]:
    """Answers to the test split, and how good they are."""
    data = build_data(config, source, "test", model, keep_records=True)
    predictions = kmmft.evaluation.predict_records(model, data).with_unknown_class()
    names = predictions.class_names(model.class_names)
    scores = predictions.metrics(names, "question_type")
    tested = {f"test/{name}": value for name, value in scores.items()}
    return predictions, {**tested, "parameters": model.count_params()}


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


def measured(
    model: FusionClassifier, base: pathlib.Path, raw: dict[str, list]
) -> dict[str, float]:
    """Size and latency of the served model, which is exported if it is not yet."""
    if not (base / "1").exists():
        kmmft.export.export_model(model, base, raw, version=1)
    served = kmmft.export.load_variant(base / "1")
    inputs = {name: tf.constant(values) for name, values in raw.items()}
    milliseconds = kmmft.export.measure_latency(
        served.function, inputs, batch_sizes=(1, 32), seconds=0.5
    )
    return {
        "size_mb": kmmft.export.megabytes(base / "1"),
        "latency_ms/batch_1": milliseconds[1],
        "latency_ms/batch_32": milliseconds[32],
    }


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
                *(metrics[f"{size}{key}"] for key in served),
            ]
            for name, own, size in rows
        ],
        highlight=2,
        note="`student alone` had no teacher. Both students have one form and the same "
        "first weights. `agrees`: share of test questions with the teacher's answer. "
        "MB and ms: of the served model, from JPEG and string to answer.",
    )


def main(config: Config) -> dict[str, float]:
    """Trains, tests, reports and exports; returns what metrics.json holds."""
    return kmmft.evaluation.show_run(config, run_once, comparison_table)


def run_once(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    source = open_questions(config.data, pathlib.Path(config.output_dir, "data"))
    with kmmft.data.clear_data_errors(source):
        teacher = get_teacher(config, source, run)
        right, of_teacher = test(config, source, teacher)
        build = functools.partial(build_student, config, teacher)
        with kmmft.training.RunDirectory(run.path / "alone", config) as own:
            _, answers, alone = train_and_test(config, source, build, own)
        student, predictions, metrics = train_and_test(
            config, source, build, run, teacher
        )
    alone["test/agreement"] = float((answers.classes == right.classes).mean())
    metrics["test/agreement"] = float((predictions.classes == right.classes).mean())
    run.write_model(student)
    raw = student.raw_columns(
        kmmft.data.first_records(source, "test", 3, on_error="skip")
    )
    of_teacher |= measured(teacher, teacher_export(config, run), raw)
    metrics |= {f"alone/{name}": value for name, value in alone.items()}
    metrics |= {f"teacher/{name}": value for name, value in of_teacher.items()}
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


def teacher_export(config: Config, run: kmmft.training.RunDirectory) -> pathlib.Path:
    """Where the served teacher is, or will be."""
    export = pathlib.Path(config.teacher, "export")
    served = config.teacher and (export / "1").exists()
    return export if served else run.path / "teacher_export"


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
