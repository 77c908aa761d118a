"""Runs all benchmarks and prints what they measured, with the machine."""

from kmmft.evaluation import Table, environment, print_table
from tests.benchmarks import import_time, input_pipeline

if __name__ == "__main__":
    for benchmark in (import_time, input_pipeline):
        print_table(benchmark.measure())
    described = environment()
    print_table(Table("Measured on", ["what", "value"], [*described.items()]))
