"""Time to the first batch of a resumed run, and records a second, by epoch size.

Records are small, so that nothing but the reading counts. To begin in the middle
should cost what it costs to begin; the records a second should not depend on the
number of records, nor the memory on the number of epochs.

Measured on two cores: 34,600 records a second of 50,000 and 35,100 of 1,000,000, with
883 and 935 MB for the whole process. The first batch of an epoch takes 0.14 to 0.19 s;
in the middle and at the end 0.21 and 0.20 s of 50,000, but 0.83 and 1.46 s of a
million: 1.3 microseconds for each record that is skipped. A TFRecord file has no index,
so the heads before a record are walked over, each with its checksum. Of records of
50 KB only the heads are read: 3.6 microseconds each from memory; from a disk a tenth
of the bytes.
"""

import pathlib
import resource
import tempfile
import time

import numpy as np
import tensorflow as tf

import kmmft
from kmmft.data.framing import frame
from kmmft.evaluation import Table

SIZES = (50_000, 1_000_000)
SHARDS = 20
BATCH_SIZE = 64
STEPS = 500


def write_records(folder: pathlib.Path, size: int) -> None:
    random = np.random.default_rng(0)
    for shard in range(SHARDS):
        name = f"small-train.tfrecord-{shard:05d}-of-{SHARDS:05d}"
        with (folder / name).open("wb") as file:
            for number in range(size // SHARDS):
                file.write(frame(example(f"{shard}-{number}", random.bytes(200))))


def example(name: str, text: bytes) -> bytes:
    values = {
        "id": tf.train.Feature(bytes_list={"value": [name.encode()]}),
        "text": tf.train.Feature(bytes_list={"value": [text]}),
        "label": tf.train.Feature(int64_list={"value": [0]}),
    }
    return tf.train.Example(features={"feature": values}).SerializeToString()


def built(source: kmmft.data.RecordSource, step: int) -> tf.data.Dataset:
    return kmmft.data.build_dataset(
        source,
        split="train",
        preprocess=lambda record: {"id": record["id"], "label": record["label"]},
        batch_size=BATCH_SIZE,
        training=True,
        start_step=step,
    )


def seconds_to_first(source: kmmft.data.RecordSource, step: int) -> float:
    """Without the tracing of the graph, which costs the same at each step."""
    dataset = built(source, step)
    start = time.perf_counter()
    next(iter(dataset))
    return time.perf_counter() - start


def measure() -> Table:
    schema = kmmft.data.schema.labelled(image=False, class_names=["thing"])
    rows = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            write_records(folder, size)
            source = kmmft.data.open_source(f"{folder}/*.tfrecord*", schema)
            steps = size // BATCH_SIZE
            places = (0, steps // 2, steps - 1)
            waits = [
                min(seconds_to_first(source, step) for _ in range(3)) for step in places
            ]
            batches = iter(built(source, 0))
            next(batches)
            start = time.perf_counter()
            for _ in range(STEPS):
                next(batches)
            rate = STEPS * BATCH_SIZE / (time.perf_counter() - start)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            rows.append(
                [
                    f"{size:,}",
                    f"{rate:,.0f}",
                    *(f"{wait:.2f}" for wait in waits),
                    f"{memory:,.0f}",
                ]
            )
    header = ["records", "records/s", "start s", "middle s", "end s", "peak MB"]
    return Table("Reading small records, and resuming", header, rows)
