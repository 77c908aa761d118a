"""What every recipe does around its own run."""

from collections.abc import Callable
from typing import Any

from kmmft.evaluation.report_parts import Table
from kmmft.evaluation.terminal import print_line, print_table
from kmmft.training import RunDirectory

Metrics = dict[str, float]


def show_run(
    config: Any,
    run_once: Callable[[Any, RunDirectory], Metrics],
    result_table: Callable[[Metrics], Table],
) -> Metrics:
    """Runs, or goes on with, or only shows the run in `config.output_dir`.

    Prints the table of results and where the report and the served model are.

    Args:
        config: The recipe's configuration, with `output_dir` and `resume`.
        run_once: Does the run and returns its metrics, which it also writes. Not
            called if the run is complete.
        result_table: Makes the table of the metrics.

    Returns:
        What `metrics.json` holds.

    Example::

        def main(config: Config) -> dict[str, float]:
            return kmmft.evaluation.show_run(config, run_once, result_table)
    """
    with RunDirectory(config.output_dir, config, config.resume) as run:
        metrics = run.metrics()
        if metrics is None:
            metrics = run_once(config, run)
        print_table(result_table(metrics))
        print_line(f"Report: {run.report}")
        if (run.export / "1").exists():
            print_line(f"Served model: {run.export / '1'}")
    return metrics
