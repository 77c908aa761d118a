"""What grows with the data: time by the number of records, memory by epochs.

Small records, read by `build_dataset` in training: opening the directory, the first
batch, every further record, and the first batch of a run that goes on in the middle of
the second epoch (nothing that is skipped is decoded, but it is read). Then the memory
of a process after each of ten epochs of augmented pictures.

Measured on two cores beside other work, of 10,000, 100,000 and 1,000,000 records: 24,
26 and 24 microseconds to write one; 42, 55 and 52 to read one; 3.6, 3.9 and 3.6 s of
one core to the first batch, of which most is TensorFlow's; 0.2, 0.3 and 0.6 s to the
first batch of the resumed run. Memory: 761 MiB after the first epoch, at most 764 after
the others.
"""

import os
import pathlib
import tempfile

from kmmft.evaluation import Table
from tests.benchmarks.own_process import output_of
from tests.benchmarks.pictures import jpegs

RECORDS = tuple(
    int(number)
    for number in os.environ.get("RECORDS", "10000,100000,1000000").split(",")
)
EPOCHS = 10

TIME = """
import os, sys, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow_datasets as tfds
import kmmft
from tfrecords_tools import DatasetWriter
folder, count = sys.argv[1], int(sys.argv[2])
text = tfds.features.Text()
features = tfds.features.FeaturesDict({"id": text, "text": text})
def cpu():
    return time.process_time()
def build(start_step=0):
    return iter(kmmft.data.build_dataset(
        source, split="train", batch_size=500, training=True, start_step=start_step))
start = cpu()
with DatasetWriter(folder, f"n{count}", features) as writer:
    for n in range(count):
        writer.write("train", {"id": str(n), "text": f"text number {n}"})
written = cpu() - start
start = cpu()
source = kmmft.data.open_source(writer.directory)
iterator = build()
next(iterator)
first = cpu() - start
start, steps = cpu(), count // 500 - 1
for _ in range(steps):
    next(iterator)
each = (cpu() - start) / (steps * 500)
del iterator
start = cpu()
next(build(start_step=count // 500 + count // 1000))
print(1e6 * written / count, first, 1e6 * each, cpu() - start)
"""
MEMORY = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import kmmft
source = kmmft.data.open_source(sys.argv[1])
change = kmmft.data.ImageAugmentation()
data = iter(kmmft.data.build_dataset(
    source, split="train", batch_size=32, training=True, shuffle_buffer=256,
    augment=lambda r, seed: {"image": change.decode(r["image"], 160, seed)}))
for epoch in range(int(sys.argv[2])):
    for _ in range(source.split("train").num_records // 32):
        next(data)
    with open("/proc/self/statm") as file:
        print(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20)
"""


def memory_by_epoch(folder: pathlib.Path) -> list[float]:
    """MiB of the process after each epoch."""
    import kmmft
    from tfrecords_tools import DatasetWriter

    features = kmmft.data.schema.labelled(text=False, class_names=["thing"])
    with DatasetWriter(folder, "pictures", features) as writer:
        for number, image in enumerate(jpegs(512, 200, 500)):
            writer.write("train", {"id": str(number), "image": image, "label": 0})
    return [float(x) for x in output_of(MEMORY, writer.directory, EPOCHS).split()]


def measure() -> Table:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for count in RECORDS:
            written, first, each, resumed = output_of(TIME, name, count).split()
            rows.append(
                [
                    f"{count:,} records",
                    f"{float(written):.0f}",
                    f"{float(each):.0f}",
                    f"{float(first):.1f}",
                    f"{float(resumed):.1f}",
                ]
            )
        memory = memory_by_epoch(pathlib.Path(name))
    grown = f"{memory[0]:.0f} MiB, then at most {max(memory[1:]):.0f}"
    rows.append([f"memory over {EPOCHS} epochs: {grown}", None, None, None, None])
    header = ["what", "write, µs", "read, µs", "first batch, s", "resumed, s"]
    return Table("Input by size, time of one core", header, rows)
