"""Answers questions about images: pretrained encoders, a fusion layer, a classifier.

Data: records of `kmmft.data.schema.image_question_answer` with the splits train,
validation and test. `--data easy_vqa` builds those of the pip package easy-vqa.

    python -m recipes.visual_question_answering --preset quickstart

On two CPU cores the quickstart trains for about 5 minutes and answers 99.97 % of the
9,673 test questions (most frequent answer: 37.3 %, best without the image: 67.0 %).
The run directory keeps `model.keras`, a teacher for `recipes.distill`.
"""

import dataclasses
import functools
import pathlib

import numpy as np
import tensorflow as tf

import kmmft
import tfrecords_tools
from kmmft.evaluation import Predictions, Table

FUSIONS = {
    "concat": kmmft.layers.ConcatFusion,
    "gated": kmmft.layers.GatedFusion,
    "bilinear": kmmft.layers.BilinearFusion,
    "film": functools.partial(kmmft.layers.FiLMFusion, condition="question"),
    "cross_attention": functools.partial(
        kmmft.layers.CrossAttentionFusion, query="question"
    ),
    "transformer": kmmft.layers.TransformerFusion,
    "tensor": kmmft.layers.TensorFusion,
}


@dataclasses.dataclass(frozen=True)
class Config(kmmft.training.RecipeConfig):
    """Settings of one run."""

    data: str = "easy_vqa"
    """TFDS directory; easy_vqa for the data of the pip package easy-vqa; shapes for
    small pictures that are drawn on the spot."""
    output_dir: str = "runs/visual_question_answering"
    """Directory of the run. The same command goes on with a run that was killed."""
    use_image: bool = True
    """Whether the model sees the image."""
    use_question: bool = True
    """Whether the model sees the question."""
    fusion: str = "bilinear"
    """concat, gated, bilinear, film, cross_attention, transformer or tensor."""
    hidden_dim: int = 512
    """Width of the fusion layer."""
    head_dim: int = 256
    """Width of the layer between fusion and answers."""
    dropout_rate: float = 0.1
    """Dropout in the head."""
    horizontal_flip: bool = True
    """Whether training images are mirrored at random."""
    explained: int = 0
    """Test examples whose answers the report explains, by hiding parts of picture and
    question."""
    compare_floors: bool = False
    """Also trains without image, without question, and with both encoders frozen."""
    variants: bool = False
    """Also exports small and fast variants, measured on 1,000 test questions."""
    max_latency_ms: float = 0.0
    """Longest time of one question that the chosen variant may take; 0 for any."""
    max_size_mb: float = 0.0
    """Largest size of the chosen variant; 0 for any."""

    def __post_init__(self):
        super().__post_init__()
        if self.fusion not in FUSIONS:
            raise ValueError(
                f"`--fusion` must be one of {', '.join(FUSIONS)}. "
                f"Received: {self.fusion!r}."
            )
        if not (self.use_image or self.use_question):
            raise ValueError(
                "The model must see something. Received: --no_use_image and "
                "--no_use_question. Leave one of them out."
            )


PRESETS = {
    "quickstart": Config(
        output_dir="runs/quickstart",
        train_text_encoder=False,
        image_size=64,
        sequence_length=12,
        epochs=1,
        validations_per_epoch=4,
        explained=6,
    ),
    "smoke": Config(
        data="shapes",
        output_dir="runs/visual_question_answering_smoke",
        train_image_encoder=False,
        train_text_encoder=False,
        image_size=64,
        sequence_length=12,
        hidden_dim=64,
        head_dim=64,
        dropout_rate=0.0,
        epochs=3,
        batch_size=16,
        learning_rate=1e-2,
        max_bad_fraction=0.0,
        explained=1,
    ),
}
FLOORS = {
    "question only": {"use_image": False},
    "image only": {"use_question": False},
    "frozen encoders": {"train_image_encoder": False, "train_text_encoder": False},
}


def build_data(
    config: Config,
    source: kmmft.data.RecordSource,
    split: str,
    model: kmmft.models.FusionClassifier,
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
        horizontal_flip=config.use_image and config.horizontal_flip,
        keep_records=keep_records,
        input_context=input_context,
        **config.reading(training=start_step is not None),
    )


def build_model(
    config: Config, answers: kmmft.data.Vocabulary
) -> kmmft.models.FusionClassifier:
    encoders = {}
    if config.use_image:
        encoders["image"] = kmmft.encoders.ImageEncoder.from_preset(
            config.image_encoder, image_size=config.image_size
        )
        encoders["image"].trainable = config.train_image_encoder
    if config.use_question:
        encoders["question"] = kmmft.encoders.TextEncoder.from_preset(
            config.text_encoder, sequence_length=config.sequence_length
        )
        encoders["question"].trainable = config.train_text_encoder
    return kmmft.models.FusionClassifier(
        encoders,
        fusion=FUSIONS[config.fusion](config.hidden_dim) if len(encoders) > 1 else None,
        class_names=answers.entries,
        hidden_dims=(config.head_dim,),
        dropout_rate=config.dropout_rate,
    )


def train_and_test(
    config: Config,
    source: kmmft.data.RecordSource,
    answers: kmmft.data.Vocabulary,
    run: kmmft.training.RunDirectory,
) -> tuple[kmmft.models.FusionClassifier, Predictions, dict[str, float]]:
    model, trained = kmmft.training.fit_classifier(
        config,
        run,
        functools.partial(build_model, config, answers),
        functools.partial(build_data, config, source),
        kmmft.data.steps_per_epoch(source, "train", config.batch_size),
    )
    test = build_data(config, source, "test", model, keep_records=True)
    predictions = kmmft.evaluation.predict_records(model, test).with_unknown_class()
    names = predictions.class_names(model.class_names)
    tested = predictions.metrics(names, "question_type")
    scores = {f"test/{name}": value for name, value in tested.items()}
    return model, predictions, {**scores, **trained}


def export_and_ask(
    model: kmmft.models.FusionClassifier,
    source: kmmft.data.RecordSource,
    run: kmmft.training.RunDirectory,
    metrics: dict[str, float],
) -> Table:
    """Exports the model, and has a process without Keras answer three questions."""
    records = kmmft.data.first_records(source, "test", 3, on_error="skip")
    raw = model.raw_columns(records)
    version = run.export / "1"
    if not version.exists():
        card = kmmft.export.ModelCard.from_run(
            run, "Visual question answering", source, metrics
        )
        trained_on = kmmft.data.first_records(source, "train", 300, on_error="skip")
        kmmft.export.export_bundle(
            model,
            run.export,
            raw,
            card=card,
            version=1,
            training_sample=model.raw_columns(trained_on),
        )
    served = kmmft.export.ask_in_fresh_process(version, raw)
    return Table(
        "Asked of the served model, in a process without Keras",
        ["id", "question", "truth", "answer", "probability"],
        [
            [r["id"], r["question"], r["answer"], label.decode(), probability]
            for r, label, probability in zip(
                records, served["label"], served["probability"], strict=True
            )
        ],
        note="The first three test questions.",
    )


def explanations(
    config: Config,
    model: kmmft.models.FusionClassifier,
    source: kmmft.data.RecordSource,
) -> list[str]:
    """A section of the report: which patches and words made the first answers."""
    if not config.explained:
        return []
    examples = [
        {name: record[name] for name in model.encoders}
        for record in kmmft.data.first_records(
            source, "test", config.explained, on_error="skip"
        )
    ]
    found = [kmmft.evaluation.explain(model, one, "occlusion") for one in examples]
    return [kmmft.evaluation.explanation_section(found)]


def variants_table(
    config: Config,
    model: kmmft.models.FusionClassifier,
    source: kmmft.data.RecordSource,
    run: kmmft.training.RunDirectory,
) -> Table:
    """Exports variants, and chooses the most accurate within the budget."""
    test = kmmft.data.first_records(source, "test", 1000, on_error="skip")
    known = kmmft.data.first_records(source, "train", 200, on_error="skip")
    raw, examples = (
        {name: [record[name] for record in records] for name in model.encoders}
        for records in (test, known)
    )
    truth = np.array([record["answer"].encode() for record in test], object)
    variants = kmmft.export.export_variants(
        model,
        run.path / "variants",
        examples,
        lambda answer: np.mean(answer(raw)["label"] == truth),
        baseline=run.export / "1",
    )
    try:
        chosen = kmmft.export.choose_variant(
            variants, config.max_latency_ms or None, config.max_size_mb or None
        )
        number = variants.index(chosen)
        note = f"Chosen within the budget: {chosen.name}, in {chosen.directory}."
    except ValueError as error:  # the run is worth its report all the same
        number, note = None, str(error)
    return Table(
        f"Variants of the served model, on {len(test)} test questions",
        ["variant", "MB", "ms, 1 row", "ms, 8", "ms, 32", "accuracy", "refused"],
        [
            [v.name, v.size_mb, *map(v.latency_ms.get, (1, 8, 32)), v.score, v.refused]
            for v in variants
        ],
        highlight=number,
        note=note,
    )


def accuracy_table(metrics: dict[str, float]) -> Table:
    """Test accuracy overall and by question type, with the floors."""
    types = sorted(
        name.removeprefix("test/accuracy/")
        for name in metrics
        if name.startswith("test/accuracy/")
    )
    rows = [
        ["most frequent answer", metrics["floor/majority"], *[None] * len(types)],
        ["best without image", metrics["floor/question_only"], *[None] * len(types)],
    ]
    for variant in (*FLOORS, ""):
        prefix = f"{variant}/test" if variant else "test"
        if f"{prefix}/accuracy" in metrics:
            by_type = [metrics[f"{prefix}/accuracy/{name}"] for name in types]
            label = f"trained: {variant}" if variant else "this model"
            rows.append([label, metrics[f"{prefix}/accuracy"], *by_type])
    return Table(
        "Test accuracy",
        ["model", "all", *(name.replace("_", " ") for name in types)],
        rows,
        highlight=len(rows) - 1,
    )


def main(config: Config) -> dict[str, float]:
    """Trains, tests, reports, exports and asks; returns what metrics.json holds."""
    return kmmft.evaluation.show_run(config, run_once, accuracy_table)


def run_once(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    source = open_data(config)
    with kmmft.data.clear_data_errors(source):
        answers = kmmft.data.Vocabulary.load_or_build(source, "train", "answer")
        floors = kmmft.evaluation.question_answer_floors(source)
        metrics = {f"floor/{name}": value for name, value in floors.items()}
        for variant, changes in FLOORS.items() if config.compare_floors else ():
            directory = run.path / "floors" / variant.replace(" ", "_")
            changed = dataclasses.replace(
                config, **changes, compare_floors=False, output_dir=str(directory)
            )
            with kmmft.training.RunDirectory(directory, changed) as variant_run:
                *_, tested = train_and_test(changed, source, answers, variant_run)
            metrics |= {f"{variant}/{name}": value for name, value in tested.items()}
        model, predictions, tested = train_and_test(config, source, answers, run)
    metrics |= tested
    metrics["peak_memory_mb"] = kmmft.evaluation.peak_memory_mb()
    run.write_model(model)
    asked = export_and_ask(model, source, run, metrics)
    tables = [accuracy_table(metrics), asked]
    if config.variants:
        tables.append(variants_table(config, model, source, run))
    for table in tables[1:]:
        kmmft.evaluation.print_table(table)
    kmmft.evaluation.report_classifier(
        run,
        predictions,
        title="Visual question answering",
        source=source,
        split="test",
        class_names=predictions.class_names(model.class_names),
        text="question",
        metrics=metrics,
        tables=tables,
        sections=explanations(config, model, source),
        notes=__doc__.split("\n", 1)[0],
    )
    run.write_metrics(metrics)
    return metrics


def open_data(config: Config) -> kmmft.data.RecordSource:
    """Opens the data, after building those that the recipe knows to make."""
    if config.data == "easy_vqa":
        directory = pathlib.Path("data/easy_vqa/1.0.0")
        if not directory.exists():
            tfrecords_tools.build_easy_vqa(output_dir="data")
    elif config.data == "shapes":
        folder = pathlib.Path(config.output_dir, "data")
        directory = folder / "shapes/1.0.0"
        if not directory.exists():
            tfrecords_tools.build_manifest(
                manifest=kmmft.data.write_colored_shapes(folder / "pictures"),
                output_dir=folder,
                name="shapes",
                image_column="image",
                question_column="question",
                answer_column="answer",
                id_column="id",
                split_column="split",
            )
    else:
        directory = config.data
    return kmmft.data.open_source(directory, kmmft.data.schema.image_question_answer())


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
