"""One model of all tasks against one for each, seed by seed."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping

import kmmft
from kmmft.evaluation import Table

from .data import training_batches
from .models import build_models, join
from .settings import Config
from .testing import MEANINGS, accuracy

ALONE = "alone"


def compare_weightings(
    config: Config,
    sources: dict[str, kmmft.data.RecordSource],
    directory: pathlib.Path,
) -> dict[str, float]:
    """Trains the tasks one by one and together, several times each.

    Every model begins with the same weights for a seed, and sees the same examples of
    a task in the same steps. Test accuracies are those after the last step.

    Args:
        config: The recipe's settings.
        sources: The records of each task.
        directory: Keeps each finished training, so that a killed comparison goes on.

    Returns:
        Flat dict such as `compared/equal/answer_accuracy`, its `_deviation` over the
        seeds, and `_gain` with its `_gain_deviation`: the difference to the task's own
        model, seed by seed.
    """

    def run(way: str, task: str, seed: int) -> Mapping[str, float]:
        changed = dataclasses.replace(config, seed=seed)
        return _run(changed, sources, way, task.split("+"))

    rows = {}
    for way in (ALONE, *config.compare.split(",")):
        # A row of the tasks together, or one for each.
        sets = [[task] for task in sources] if way == ALONE else [list(sources)]
        points = [
            {"way": way, "task": "+".join(tasks), "seed": config.seed + seed}
            for seed in range(config.compare_seeds)
            for tasks in sets
        ]
        found = kmmft.evaluation.repeated_runs(directory, points, run)
        rows[way] = _by_seed(found)
    metrics = {}
    for way, found in rows.items():
        reference = None if way == ALONE else rows[ALONE]
        metrics |= kmmft.evaluation.method_metrics(f"compared/{way}", found, reference)
    return metrics


def _run(
    config: Config,
    sources: dict[str, kmmft.data.RecordSource],
    way: str,
    tasks: list[str],
) -> dict[str, float]:
    kmmft.training.fresh_session(config.seed, config.dtype_policy)
    with kmmft.training.make_strategy(config.strategy).scope():
        # All of them, so that a seed means the same first weights.
        models = build_models(config, sources)
        chosen = {task: models[task] for task in tasks}
        model = chosen[tasks[0]]
        if way != ALONE:
            model = join(config, chosen, way)
        steps = config.steps_per_epoch * config.epochs
        model.compile(
            kmmft.training.adamw(
                config.learning_rate, steps, weight_decay=config.weight_decay
            )
        )
    with kmmft.evaluation.TrainingCost() as cost:
        batches = training_batches(config, sources, chosen, start_step=0)
        if way == ALONE:
            batches = batches.map(lambda batch: batch[tasks[0]])
        model.fit(batches, steps_per_epoch=steps, callbacks=[cost], verbose=0)
    scores = {
        f"{task}_accuracy": accuracy(config, task, sources[task], one)
        for task, one in chosen.items()
    }
    return scores | {"seconds": cost.seconds}


def _by_seed(rows: list[dict]) -> list[dict]:
    """One row a seed: models of single tasks count as one."""
    merged: dict[int, dict] = {}
    for row in rows:
        own = merged.setdefault(row["seed"], {"seed": row["seed"], "seconds": 0.0})
        own["seconds"] += row["seconds"]
        own |= {k: v for k, v in row.items() if k.endswith("accuracy")}
    return list(merged.values())


def comparison_tables(config: Config, metrics: Mapping[str, float]) -> list[Table]:
    """A row for each way of training; none if nothing was compared."""
    if not config.compare_seeds:
        return []
    tasks = config.task_names()
    rows = [
        [
            "a model for each task" if way == ALONE else f"together, {way}",
            *(_cell(metrics, f"compared/{way}/{task}_accuracy") for task in tasks),
            round(metrics[f"compared/{way}/seconds"]),
        ]
        for way in (ALONE, *config.compare.split(","))
    ]
    note = (
        f"Mean and deviation over {config.compare_seeds} seeds after "
        f"{config.steps_per_epoch * config.epochs} steps of {config.batch_size} "
        "examples of each task; in brackets the difference to the task's own model, "
        "seed by seed. It is more than chance (paired t-test, 95 %) where the mean is "
        "at least 2.5 deviations with 3 seeds, 1.2 with 5."
    )
    header = ["trained", *tasks, "seconds"]
    return [Table("Together or each alone: test accuracy, %", header, rows, note=note)]


def _cell(metrics: Mapping[str, float], name: str) -> str:
    def shown(kind: str, sign: str = "") -> str:
        text = f"{100 * metrics[f'{name}{kind}']:{sign}.1f}"
        spread = metrics.get(f"{name}{kind}_deviation", math.nan)
        return text if math.isnan(spread) else f"{text} ± {100 * spread:.1f}"

    if f"{name}_gain" not in metrics:
        return shown("")
    return f"{shown('')} ({shown('_gain', '+')})"


def result_table(metrics: Mapping[str, float]) -> Table:
    """Test accuracy of each task."""
    rows = [
        [task, meaning, metrics[f"test/{task}/accuracy"]]
        for task, meaning in MEANINGS.items()
        if f"test/{task}/accuracy" in metrics
    ]
    return Table("Test accuracy", ["task", "share of", "accuracy"], rows)
