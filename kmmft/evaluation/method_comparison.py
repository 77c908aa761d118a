"""Tables and charts of methods that were run several times each."""

import math
from collections.abc import Mapping, Sequence

from kmmft.evaluation.pareto_chart import pareto_section
from kmmft.evaluation.repeated_runs import Row, mean_and_deviation
from kmmft.evaluation.report_parts import Table

_COSTS = {
    "learning_rate": "rate",
    "trained_weights": "weights trained",
    "seconds": "seconds",
    "milliseconds_per_step": "ms a step",
    "memory_mb": "memory, MB",
}


def method_metrics(prefix: str, rows: Sequence[Row]) -> dict[str, float]:
    """Means of a method's numbers over its runs, and deviations of its shares.

    Args:
        prefix: What the names begin with, such as `"full/20_labels"`.
        rows: The method's rows of `repeated_runs`. What is no number is left out.

    Returns:
        Flat dict: `<prefix>/<name>` for the means and, for names that end with
        `accuracy` and two runs or more, `<prefix>/<name>_deviation`.

    Example:
        >>> rows = [{"seed": 0, "test_accuracy": 0.5}, {"seed": 1, "test_accuracy": 1.0}]
        >>> kmmft.evaluation.method_metrics("full", rows)["full/test_accuracy"]
        0.75
    """  # noqa: E501
    metrics = {}
    for name, first in rows[0].items():
        if name == "seed" or not isinstance(first, int | float):
            continue
        mean, deviation = mean_and_deviation([row[name] for row in rows])
        metrics[f"{prefix}/{name}"] = mean
        if name.endswith("accuracy") and len(rows) > 1:
            metrics[f"{prefix}/{name}_deviation"] = deviation
    return metrics


def method_table(
    metrics: Mapping[str, float],
    prefixes: Mapping[str, str],
    title: str,
    accuracies: Mapping[str, str],
    note: str = "",
) -> Table:
    """A row for each method, the best first.

    Args:
        metrics: Flat numbers, of `method_metrics`.
        prefixes: Prefix of a method's metrics, by what to call it.
        title: Heading.
        accuracies: Columns of accuracies by metric; rows are sorted by the first.
        note: A sentence below the table.

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
    order = sorted(prefixes, key=lambda name: -metrics[f"{prefixes[name]}/{first}"])
    rows = []
    for name in order:
        row = [name]
        for accuracy in accuracies:
            row.append(metrics.get(f"{prefixes[name]}/{accuracy}"))
            row.append(_deviation(metrics, f"{prefixes[name]}/{accuracy}_deviation"))
        row += [_cost(metrics, prefixes[name], cost) for cost in costs]
        rows.append(row)
    header = ["method"]
    for label in accuracies.values():
        header += [label, "deviation"]
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


def _cost(metrics: Mapping[str, float], prefix: str, name: str) -> int | str | None:
    value = metrics.get(f"{prefix}/{name}", math.nan)
    if math.isnan(value):
        return None
    return f"{value:g}" if name == "learning_rate" else round(value)
