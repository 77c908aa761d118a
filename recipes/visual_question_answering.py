"""Answers questions about images: pretrained encoders, fusion, a classifier or decoder.

Data: records of `kmmft.data.schema.image_question_answer` with the splits train,
validation and test. `--data easy_vqa` builds those of the pip package easy-vqa.

    python -m recipes.visual_question_answering --preset quickstart
    python -m recipes.visual_question_answering --preset quickstart --head generate
    python -m recipes.visual_question_answering --data data/mine/1.0.0

On two CPU cores the quickstart trains for about 5 minutes and answers 99.97 % of the
9,673 test questions (most frequent answer: 37.3 %, best without the image: 67.0 %).
The run directory keeps `model.keras`, a teacher for `recipes.distill`. With
`--head generate` a small decoder writes the answers instead of choosing them; right is
then what equals the answer in VQA's normal form. Where records also have all people's
`answers`, the table tells VQA v2's accuracy. A whole PaliGemma, Gemma 3 or BLIP-2
generates with `--head generate --pretrained_writer pali_gemma_3b_224 --lora_rank 8
--dtype_policy bfloat16`: see `recipes.captioning`.
"""

import dataclasses
import functools

import tensorflow as tf

import kmmft
from kmmft.evaluation import Table

from .vqa.data import open_data
from .vqa.heads import Answers, Model, answer_all, build_model
from .vqa.settings import FLOORS, PRESETS, Config
from .vqa.variants import variants_table

MONITORS = {"classify": "val_accuracy", "generate": "val_word_accuracy"}


def build_data(
    config: Config,
    source: kmmft.data.RecordSource,
    split: str,
    model: Model,
    start_step: int | None = None,
    input_context: tf.distribute.InputContext | None = None,
    keep_records: bool = False,
) -> tf.data.Dataset:
    """Batches to learn from; endless and shuffled if `start_step` is given."""
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


def train_and_test(
    config: Config,
    source: kmmft.data.RecordSource,
    answers: kmmft.data.Vocabulary,
    run: kmmft.training.RunDirectory,
) -> tuple[Model, Answers, list[str], dict[str, float]]:
    """The model, its answers to the test split, their classes, and their scores."""
    model, trained = kmmft.training.fit_classifier(
        config,
        run,
        functools.partial(build_model, config, answers),
        functools.partial(build_data, config, source),
        kmmft.data.steps_per_epoch(source, "train", config.batch_size),
        monitor=MONITORS[config.head],
    )
    test = build_data(config, source, "test", model, keep_records=True)
    answered, names = answer_all(config, model, test)
    tested = answered.metrics(names, "question_type")
    tested |= kmmft.evaluation.people_agreement(answered, names)
    scores = {f"test/{name}": value for name, value in tested.items()}
    return model, answered, names, {**scores, **trained}


def export_and_ask(
    model: Model,
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
    answers = served["label"] if "label" in served else served["text"]
    # A text that was written has no probability among others.
    sure = served.get("probability", [None] * len(records))
    return Table(
        "Asked of the served model, in a process without Keras",
        ["id", "question", "truth", "answer", "probability"],
        [
            [r["id"], r["question"], r["answer"], answer.decode(), probability]
            for r, answer, probability in zip(records, answers, sure, strict=True)
        ],
        note="The first three test questions.",
    )


def explanations(
    config: Config,
    model: Model,
    source: kmmft.data.RecordSource,
) -> list[str]:
    """A section of the report: which patches and words made the first answers."""
    if not config.explained or config.head == "generate":
        return []
    examples = [
        {name: record[name] for name in model.encoders}
        for record in kmmft.data.first_records(
            source, "test", config.explained, on_error="skip"
        )
    ]
    found = [kmmft.evaluation.explain(model, one, "occlusion") for one in examples]
    return [kmmft.evaluation.explanation_section(found)]


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
        note=_agreement(metrics),
    )


def _agreement(metrics: dict[str, float]) -> str:
    share = metrics.get("test/vqa_accuracy")
    return "" if share is None else f"VQA accuracy of this model: {100 * share:.2f} %."


def main(config: Config) -> dict[str, float]:
    """Trains, tests, reports, exports and asks; returns what metrics.json holds."""
    return kmmft.evaluation.show_run(config, run_once, accuracy_table)


def run_once(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    source = open_data(config)
    with kmmft.data.clear_data_errors(source):
        # A decoder learns all people's answers, where the records have them.
        several = config.head == "generate" and "answers" in source.features
        answers = kmmft.data.Vocabulary.load_or_build(
            source, "train", "answers" if several else "answer"
        )
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
        model, answered, names, tested = train_and_test(config, source, answers, run)
    metrics |= tested
    if config.lora_rank:
        kmmft.finetuning.merge_adapters(model)
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
        answered,
        title="Visual question answering",
        source=source,
        split="test",
        class_names=names,
        text="question",
        metrics=metrics,
        tables=tables,
        sections=explanations(config, model, source),
        notes=__doc__.split("\n", 1)[0],
    )
    run.write_metrics(metrics)
    return metrics


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
