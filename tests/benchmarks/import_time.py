"""What `import kmmft`, with all its rooms, adds to importing keras and keras_hub.

The rooms load on first use, so `import kmmft` alone costs nothing; here they are all
asked for. Target: 0.3 s. Measured: nothing that stands out of the noise.
"""

import kmmft
from kmmft.evaluation import Table
from tests.benchmarks.own_process import output_of

BASE = "import keras, keras_hub"
PROGRAM = """
import time
start = time.perf_counter()
{statements}
print(time.perf_counter() - start)
"""
REPEATS = 3


def seconds(statements: str) -> float:
    """The best of a few runs, each in a fresh process."""
    program = PROGRAM.format(statements=statements)
    return min(float(output_of(program)) for _ in range(REPEATS))


def measure() -> Table:
    everything = "; ".join(f"import kmmft.{room}" for room in kmmft.__all__)
    base = seconds(BASE)
    ours = seconds(f"{BASE}; {everything}")
    return Table(
        "Import",
        ["what", "seconds"],
        [
            ["keras, keras_hub", f"{base:.2f}"],
            ["the same and all of kmmft", f"{ours:.2f}"],
            ["added (target 0.3)", f"{ours - base:.2f}"],
        ],
    )
