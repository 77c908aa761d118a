"""Runs all benchmarks and prints what they measured, with the machine.

One that lacks something, such as the served model that `make bench` trains, says so in
a line, and the others go on.
"""

import sys
import types
from collections.abc import Sequence

from kmmft.evaluation import Table, environment, print_line, print_table
from tests.benchmarks import (
    building,
    gradient_caching,
    import_time,
    input_pipeline,
    input_scale,
    optimizer,
    replica_equality,
    resuming,
    retrieval,
    serving,
    text_packing,
    tokenizers,
    training_throughput,
)

BENCHMARKS = (
    import_time,
    input_pipeline,
    input_scale,
    resuming,
    building,
    optimizer,
    replica_equality,
    gradient_caching,
    retrieval,
    tokenizers,
    serving,
    text_packing,
    training_throughput,
)


def run(benchmarks: Sequence[types.ModuleType]) -> int:
    """Runs benchmarks in turn, and returns how many could not be run."""
    missing = 0
    for benchmark in benchmarks:
        try:
            print_table(benchmark.measure())
        except (ImportError, ValueError) as error:
            missing += 1
            reason = " ".join(str(error).split())
            print_line(f"Not run: {benchmark.__name__}. {reason}")
    return missing


if __name__ == "__main__":
    not_run = run(BENCHMARKS)
    described = environment()
    print_table(Table("Measured on", ["what", "value"], [*described.items()]))
    sys.exit(min(not_run, 1))
