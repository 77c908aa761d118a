"""Tables and charts of methods that were run several times each."""

import math
import os
from collections.abc import Callable, Mapping, Sequence

from kmmft.evaluation.pareto_chart import pareto_section
from kmmft.evaluation.repeated_runs import (
    Row,
    mean_and_deviation,
    search_and_repeat,
)
from kmmft.evaluation.report_parts import Table

_COSTS = {
    "learning_rate": "rate",
    "trained_weights": "weights trained",
    "seconds": "seconds",
    "milliseconds_per_step": "ms a step",
    "memory_mb": "memory, MB",
}
# 95 %, two-sided: Student's quantile over the root of the number of seeds.
_HOW_TO_READ = (
    "vs {reference}: the difference to {reference} with the same seed, and so the same "
    "examples, in points; mean and deviation over the seeds. It is more than chance "
    "(paired t-test, 95 %) where the mean is at least 9 deviations with 2 seeds, 2.5 "
    "with 3, 1.2 with 5, 0.7 with 10; one in twenty methods seems so by chance. What "
    "other test examples would change is not in it."
)


def compare_methods(
    directory: str | os.PathLike,
    run: Callable[..., Mapping[str, float]],
    *,
    methods: Sequence[str],
    labels: Sequence[float],
    learning_rates: Sequence[float],
    seeds: Sequence[int],
    reference: str,
) -> dict[str, float]:
    """Runs every method with every number of labels, with the same effort for each.

    The learning rate is searched with the first number of labels and the first seed,
    among the same rates for every method, by `validation_accuracy`; of equals the
    lowest is chosen. The other seeds and numbers of labels use it too.

    Args:
        directory: Where finished runs are kept, as in `repeated_runs`.
        run: Called with `method`, `labels`, `learning_rate` and `seed`; returns
            numbers, `validation_accuracy` among them. The same seed must mean the
            same examples for every method.
        methods: Names.
        labels: Numbers or shares of labelled examples.
        learning_rates: Rates to try.
        seeds: Seeds of the runs.
        reference: The method that the others are compared with; may be absent.

    Returns:
        Metrics of each method and number of labels, with the prefixes of
        `method_prefix`.

    Example:
        >>> def run(method, labels, learning_rate, seed):
        ...     score = {"probe": 0.5, "full": 0.75}[method]
        ...     return {"validation_accuracy": score, "test_accuracy": score}
        >>> metrics = kmmft.evaluation.compare_methods(
        ...     "runs", run, methods=["full", "probe"], labels=[5], seeds=[0, 1],
        ...     learning_rates=[0.1, 0.01], reference="full")
        >>> metrics["probe/5_labels/test_accuracy_gain"]
        -0.25
        >>> metrics["probe/5_labels/learning_rate"]
        0.01
    """
    metrics: dict[str, float] = {}
    rates: dict[str, list[float]] = {}
    for amount in labels:
        rows = {}
        for method in methods:
            rows[method] = search_and_repeat(
                directory,
                {"method": method, "labels": amount},
                run,
                setting="learning_rate",
                values=rates.get(method) or sorted(learning_rates),
                score="validation_accuracy",
                seeds=seeds,
            )
            rates[method] = [rows[method][0]["learning_rate"]]
        for method in methods:
            baseline = rows.get(reference) if method != reference else None
            prefix = method_prefix(method, amount)
            metrics |= method_metrics(prefix, rows[method], baseline)
    return metrics


def method_prefix(method: str, labels: float) -> str:
    """What the metrics of a method with a number of labels begin with.

    Example:
        >>> kmmft.evaluation.method_prefix("parts, then all", 0.5)
        'parts_then_all/0.5_labels'
    """
    return f"{method.replace(', ', '_').replace(' ', '_')}/{labels:g}_labels"


def method_metrics(
    prefix: str, rows: Sequence[Row], reference: Sequence[Row] | None = None
) -> dict[str, float]:
    """Means of a method's numbers over its runs, and deviations of its shares.

    Args:
        prefix: What the names begin with, such as `"full/20_labels"`.
        rows: The method's rows of `repeated_runs`. What is no number is left out.
        reference: Rows of another method, with the same seeds.

    Returns:
        Flat dict: `<prefix>/<name>` for the means and, for names that end with
        `accuracy` and two runs or more, `<prefix>/<name>_deviation`. With a reference
        also `<prefix>/<name>_gain` and `<prefix>/<name>_gain_deviation` for these
        names: mean and sample deviation of the differences seed by seed. They are
        surer than the difference of two means, as what a seed's examples do to both
        methods cancels out.

    Raises:
        ValueError: If the reference has other seeds.

    Example:
        >>> full = [{"seed": 0, "test_accuracy": 0.5}, {"seed": 1, "test_accuracy": 1.0}]
        >>> lora = [{"seed": 1, "test_accuracy": 0.75}, {"seed": 0, "test_accuracy": 0.25}]
        >>> metrics = kmmft.evaluation.method_metrics("lora", lora, full)
        >>> metrics["lora/test_accuracy"], metrics["lora/test_accuracy_gain"]
        (0.5, -0.25)
        >>> metrics["lora/test_accuracy_gain_deviation"]
        0.0
    """  # noqa: E501
    metrics = {}
    for name, first in rows[0].items():
        if name == "seed" or not isinstance(first, int | float):
            continue
        measured = {name: [row[name] for row in rows]}
        if reference and name.endswith("accuracy"):
            measured[f"{name}_gain"] = _differences(name, rows, reference)
        for measure, values in measured.items():
            mean, deviation = mean_and_deviation(values)
            metrics[f"{prefix}/{measure}"] = mean
            if name.endswith("accuracy") and len(rows) > 1:
                metrics[f"{prefix}/{measure}_deviation"] = deviation
    return metrics


def method_table(
    metrics: Mapping[str, float],
    prefixes: Mapping[str, str],
    title: str,
    accuracies: Mapping[str, str],
    note: str = "",
    reference: str | None = None,
) -> Table:
    """A row for each method, the best first.

    Args:
        metrics: Flat numbers, of `method_metrics`.
        prefixes: Prefix of a method's metrics, by what to call it.
        title: Heading.
        accuracies: Columns of accuracies by metric; rows are sorted by the first.
        note: A sentence below the table.
        reference: What the method is called whose rows `method_metrics` got as
            `reference`. Where there are such differences, a column shows those of
            the first accuracy, and the note how to read them.

    Returns:
        The table, with columns for the rate, time, and memory that the metrics have.

    Raises:
        KeyError: If a method has not the first accuracy.
    """
    costs = {
        name: label
        for name, label in _COSTS.items()
        if any(f"{prefix}/{name}" in metrics for prefix in prefixes.values())
    }
    first = next(iter(accuracies))
    header = ["method"]
    for label in accuracies.values():
        header += [label, "deviation"]
    paired = any(f"{x}/{first}_gain" in metrics for x in prefixes.values())
    if paired:
        header.insert(3, f"vs {reference}")
        note = f"{note} {_HOW_TO_READ.format(reference=reference)}".strip()
    rows = []
    for name in sorted(
        prefixes, key=lambda name: -metrics[f"{prefixes[name]}/{first}"]
    ):
        row = [name]
        for accuracy in accuracies:
            row.append(metrics.get(f"{prefixes[name]}/{accuracy}"))
            row.append(_deviation(metrics, f"{prefixes[name]}/{accuracy}_deviation"))
        if paired:
            row.insert(3, _gain(metrics, f"{prefixes[name]}/{first}_gain"))
        rows.append(row + [_cost(metrics, prefixes[name], cost) for cost in costs])
    return Table(title, [*header, *costs.values()], rows, note=note)


def method_charts(
    metrics: Mapping[str, float],
    prefixes: Mapping[str, str],
    title: str,
    costs: Mapping[str, str],
    accuracy: str = "test_accuracy",
) -> list[str]:
    """Charts of a method's accuracy against what it costs.

    Args:
        metrics: Flat numbers, of `method_metrics`.
        prefixes: As for `method_table`.
        title: What the headings end with.
        costs: What to call each cost, by metric.
        accuracy: The metric on the other axis.

    Returns:
        `<section>` elements for `write_report`.
    """
    return [
        pareto_section(
            {
                name: (
                    metrics[f"{prefix}/{cost}"],
                    metrics[f"{prefix}/{accuracy}"],
                    metrics.get(f"{prefix}/{accuracy}_deviation", math.nan),
                )
                for name, prefix in prefixes.items()
            },
            label,
            accuracy.replace("_", " "),
            f"Accuracy against {label}, {title}",
        )
        for cost, label in costs.items()
    ]


def _deviation(metrics: Mapping[str, float], name: str) -> str | None:
    value = metrics.get(name)
    return None if value is None else f"± {100 * value:.1f} %"


def _gain(metrics: Mapping[str, float], name: str) -> str | None:
    if name not in metrics:
        return None
    text = f"{100 * metrics[name]:+.1f}"
    deviation = metrics.get(f"{name}_deviation")
    return text if deviation is None else f"{text} ± {100 * deviation:.1f}"


def _differences(
    name: str, rows: Sequence[Row], reference: Sequence[Row]
) -> list[float]:
    """Differences to the reference's run with the same seed."""
    theirs = {row["seed"]: row[name] for row in reference}
    seeds = [row["seed"] for row in rows]
    if sorted(seeds) != sorted(theirs):
        raise ValueError(
            "Methods can only be compared seed by seed if they have the same seeds. "
            f"Received: {sorted(seeds)} and {sorted(theirs)}. Run what is missing."
        )
    return [row[name] - theirs[row["seed"]] for row in rows]


def _cost(metrics: Mapping[str, float], prefix: str, name: str) -> int | str | None:
    value = metrics.get(f"{prefix}/{name}", math.nan)
    if math.isnan(value):
        return None
    return f"{value:g}" if name == "learning_rate" else round(value)
