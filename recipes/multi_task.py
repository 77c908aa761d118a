"""Learns several tasks about images at once, above the same two encoders.

The tasks are to match pictures with captions (contrastively), to caption pictures, to
answer questions about them and to classify them, or some of these. Data: a directory
for each kind of records, `--pairs`, `--questions` and `--labelled`; or `--data
easy_vqa`, which makes them of the pip package easy-vqa. One export serves all tasks.

    python -m recipes.multi_task --preset smoke
    python -m recipes.multi_task --preset easy_vqa --compare_seeds 3
    python -m recipes.multi_task --pairs data/pairs/1.0.0 --questions data/vqa/1.0.0 \\
        --tasks match,caption,answer --weighting uncertainty

With `--compare_seeds 3` a table tells whether learning together helps: the same steps
with the same examples, in one model of all tasks and in a model for each.
"""

import contextlib
import functools

import keras

import kmmft
from kmmft.evaluation import Example

from .together.comparison import compare_weightings, comparison_tables, result_table
from .together.data import open_data, task_batches, training_batches
from .together.models import build_models, join
from .together.settings import PRESETS, Config
from .together.testing import accuracy, predictions

Sources = dict[str, kmmft.data.RecordSource]

# Feature that the report shows beside the pictures of a classifier's answers.
SHOWN = {"answer": "question", "classify": "id"}


def build_model(config: Config, sources: Sources) -> kmmft.models.MultiTask:
    """One model of all tasks."""
    return join(config, build_models(config, sources), config.weighting)


def train(
    config: Config, sources: Sources, run: kmmft.training.RunDirectory
) -> tuple[kmmft.models.MultiTask, dict[str, float]]:
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.dtype_policy)
    steps, rounds = config.rounds(config.steps_per_epoch)
    with kmmft.training.make_strategy(config.strategy).scope():
        model = build_model(config, sources)
        model.compile(
            kmmft.training.adamw(
                config.learning_rate, steps * rounds, weight_decay=config.weight_decay
            )
        )
    # Otherwise the weights of the loss change, as `--patience` says.
    steady = config.weighting in ("equal", "pcgrad")
    seconds = kmmft.training.resumable_fit(
        model,
        functools.partial(training_batches, config, sources, model.tasks),
        run=run,
        steps_per_epoch=steps,
        epochs=rounds,
        validation_data={
            task: task_batches(config, task, source, "validation", model.tasks[task])
            for task, source in sources.items()
        },
        monitor="val_loss" if steady else None,
        patience=config.patience if steady else None,
    )
    samples = steps * config.batch_size * len(sources) * len(run.history())
    return model, {
        "train/seconds": seconds,
        "train/samples_per_second": samples / seconds,
    }


def test(
    config: Config, sources: Sources, model: kmmft.models.MultiTask
) -> tuple[dict[str, float], list[Example]]:
    """Each task's accuracy, and examples of the classifiers' answers."""
    metrics, examples = {}, []
    for task, source in sources.items():
        own = model.tasks[task]
        if task in SHOWN:
            found = predictions(config, task, source, own)
            names = found.class_names(own.class_names)
            score = found.metrics(names)["accuracy"]
            examples += kmmft.evaluation.show_examples(
                found, source, "test", names, SHOWN[task], max_examples=24
            )
        else:
            score = accuracy(config, task, source, own)
        metrics[f"test/{task}/accuracy"] = score
    return metrics, examples


def export(
    sources: Sources,
    run: kmmft.training.RunDirectory,
    model: kmmft.models.MultiTask,
    metrics: dict[str, float],
) -> None:
    raw = {}
    for task, source in sources.items():
        records = kmmft.data.first_records(source, "test", 3, on_error="skip")
        if task in ("match", "caption"):
            raw["text"] = [record["captions"][0] for record in records]
        if task == "answer":
            raw["question"] = [record["question"] for record in records]
        raw["image"] = [record["image"] for record in records]
    # A split may have fewer records than another one.
    rows = min(map(len, raw.values()))
    raw = {name: values[:rows] for name, values in raw.items()}
    title = "Several tasks together"
    first = next(iter(sources.values()))
    card = kmmft.export.ModelCard.from_run(run, title, first, metrics)
    kmmft.export.export_bundle(model, run.export, raw, card=card, version=1)


def main(config: Config) -> dict[str, float]:
    """Trains, tests, reports and exports; returns what metrics.json holds."""
    return kmmft.evaluation.show_run(config, run_once, result_table)


def run_once(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    sources = open_data(config)
    with contextlib.ExitStack() as stack:
        for source in {source.path: source for source in sources.values()}.values():
            stack.enter_context(kmmft.data.clear_data_errors(source))
        model, metrics = train(config, sources, run)
        scores, examples = test(config, sources, model)
        metrics |= scores
        if config.compare_seeds:
            metrics |= compare_weightings(config, sources, run.path / "compared")
    metrics["peak_memory_mb"] = kmmft.evaluation.peak_memory_mb()
    run.write_model(model)
    if not (run.export / "1").exists():
        export(sources, run, model, metrics)
    tables = [result_table(metrics), *comparison_tables(config, metrics)]
    for table in tables[1:]:
        kmmft.evaluation.print_table(table)
    kmmft.evaluation.report_examples(
        run,
        examples,
        title="Several tasks together",
        metrics=metrics,
        tables=tables,
        notes=__doc__.split("\n", 1)[0],
    )
    run.write_metrics(metrics)
    return metrics


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
