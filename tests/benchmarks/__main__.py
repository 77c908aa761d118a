"""Runs all benchmarks and prints what they measured, with the machine."""

from kmmft.evaluation import Table, environment, print_table
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

if __name__ == "__main__":
    for benchmark in BENCHMARKS:
        print_table(benchmark.measure())
    described = environment()
    print_table(Table("Measured on", ["what", "value"], [*described.items()]))
