"""Builds from many small rows, and from pictures that are made smaller on the way.

The cost of a row must not depend on how many there are. Measured on two cores, one of
which works: 17,100 texts a second for 100,000 of them, and 13,500 for 1,000,000, in at
most 820 MB, most of which is TensorFlow (a process reports no less than what started it
had). JPEGs of 640 x 480 are made 256 pixels wide at 102 a second by one thread, and 215
by two.
"""

import json
import sys

from kmmft.evaluation import Table, print_table
from tests.benchmarks.own_process import THREADS, output_of

ROWS = (100_000, 1_000_000)
PICTURES = 1_000

_ROWS_PROGRAM = """
import json, pathlib, resource, sys, tempfile, time
from tfrecords_tools import build_manifest
number = int(sys.argv[1])
with tempfile.TemporaryDirectory() as folder:
    manifest = pathlib.Path(folder, "rows.tsv")
    with manifest.open("w") as file:
        file.write("text\\tlabel\\n")
        for row in range(number):
            file.write(f"what row {row} says, in eight words\\t{row % 10}\\n")
    start, used = time.perf_counter(), time.process_time()
    result = build_manifest(
        manifest=manifest, text_column="text", label_column="label", name="rows",
        output_dir=folder,
    )
    seconds = time.perf_counter() - start
    used = time.process_time() - used
    assert sum(result.num_records.values()) == number
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([number / seconds, number / used, memory]))
"""

_PICTURES_PROGRAM = """
import json, pathlib, resource, sys, tempfile, time
import numpy as np, PIL.Image
from tfrecords_tools import BuildOptions, build_image_folder
number, workers = map(int, sys.argv[1:])
random = np.random.default_rng(0)
with tempfile.TemporaryDirectory() as folder:
    files = pathlib.Path(folder, "in/a")
    files.mkdir(parents=True)
    for row in range(number):
        coarse = random.integers(0, 256, (15, 20, 3), np.uint8)
        image = PIL.Image.fromarray(coarse).resize((640, 480), 3)
        image.save(files / f"{row}.jpg", quality=90)
    megabytes = sum(file.stat().st_size for file in files.iterdir()) / 1e6
    options = {"max_side": 256, "num_workers": workers}
    start, used = time.perf_counter(), time.process_time()
    build_image_folder(
        folder=files.parent, output_dir=folder, name="a",
        options=BuildOptions(**options),
    )
    seconds = time.perf_counter() - start
    used = time.process_time() - used
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([number / seconds, number / used, memory, megabytes / seconds]))
"""


def measure() -> Table:
    """Records a second and peak memory, by number of rows and of threads."""
    found = []
    for number in ROWS:
        rates = json.loads(output_of(_ROWS_PROGRAM, number))
        found.append([f"{number:,} texts", *[f"{one:,.0f}" for one in rates], ""])
    for workers in range(1, THREADS + 1):
        program = output_of(_PICTURES_PROGRAM, PICTURES, workers)
        *rates, read = json.loads(program)
        what = f"{PICTURES:,} JPEGs of 640 x 480 to 256, {workers} threads"
        rates = [f"{one:,.0f}" for one in rates]
        found.append([what, *rates, f"{read:.1f}"])
    heads = [
        "build of",
        "records/s",
        "records/s of CPU",
        "peak memory, MB",
        "MB/s read",
    ]
    return Table("Building", heads, found)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        ROWS = tuple(map(int, sys.argv[1:]))
    print_table(measure())
