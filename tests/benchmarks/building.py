"""Writing pairs of pictures and captions: DatasetWriter, WebDataset, TFDS.

The same encoded pictures of many sizes, 100,000 pairs by default (`PAIRS` in the
environment for others), each with a caption. What is measured is writing alone.
`DatasetWriter` also checks the features, refuses ids that come twice, sums up each
shard with SHA-256 and gives shards of equal length, for which it writes twice.

Measured on two cores beside other work, 1.8 GB: DatasetWriter 7,340 pairs a second (133
MB/s; 119 core microseconds a pair), WebDataset's ShardWriter 8,340 (151 MB/s; 119),
TFDS's SequentialWriter 480 (9 MB/s; 827). Of DatasetWriter's time 60 % goes to TFDS's
example serializer, the rest to one write, SHA-256 and fsync.
"""

import os
import pathlib
import shutil
import sys
import tempfile
import time

from kmmft.evaluation import Table
from tests.benchmarks.own_process import HAS_PEER, PEER, output_of
from tests.benchmarks.pictures import jpegs

PAIRS = int(os.environ.get("PAIRS", "100000"))
PICTURES = 1000

OURS = """
import os, pathlib, sys, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow_datasets as tfds
import kmmft
from tfrecords_tools import DatasetWriter
kind, pictures, folder, count = sys.argv[1:]
folder, count = pathlib.Path(folder), int(count)
images = [p.read_bytes() for p in sorted(pathlib.Path(pictures).glob("*.jpg"))]
features = kmmft.data.schema.image_text()
def records():
    for n in range(count):
        yield {"id": f"{n:08}", "image": images[n % len(images)],
               "captions": [f"picture number {n}"]}
start, cpu = time.perf_counter(), time.process_time()
if kind == "ours":
    with DatasetWriter(folder, "pairs", features) as writer:
        for record in records():
            writer.write("train", record)
else:
    path = folder / "pairs/1.0.0"
    path.mkdir(parents=True)
    identity = tfds.core.DatasetIdentity(
        name="pairs", version=tfds.core.Version("1.0.0"), data_dir=str(path),
        module_name="benchmark")
    info = tfds.core.DatasetInfo(builder=identity, features=features)
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=4096)
    writer.initialize_splits(["train"])
    for record in records():
        writer.add_examples({"train": [record]})
    writer.close_all()
print(time.perf_counter() - start, time.process_time() - cpu)
"""
THEIRS = """
import pathlib, sys, time
import webdataset
pictures, folder, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
images = [p.read_bytes() for p in sorted(pathlib.Path(pictures).glob("*.jpg"))]
start, cpu = time.perf_counter(), time.process_time()
shards = folder + "/pairs-%05d.tar"
with webdataset.ShardWriter(shards, maxcount=4096, verbose=0) as sink:
    for n in range(count):
        sink.write({"__key__": f"{n:08}", "jpg": images[n % len(images)],
                    "txt": f"picture number {n}"})
print(time.perf_counter() - start, time.process_time() - cpu)
"""


def measure() -> Table:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        pictures = pathlib.Path(name, "pictures")
        pictures.mkdir()
        # Half of them small, as thumbnails, and some large.
        for number, image in enumerate(jpegs(PICTURES, 64, 512)):
            (pictures / f"{number:04}.jpg").write_bytes(image)
        sizes = [file.stat().st_size for file in pictures.iterdir()]
        megabytes = sum(sizes) / len(sizes) * PAIRS / 1e6
        writers = [
            ("DatasetWriter", OURS, sys.executable, ("ours",)),
            ("TFDS SequentialWriter", OURS, sys.executable, ("tfds",)),
        ]
        if HAS_PEER:
            writers.append(("WebDataset ShardWriter", THEIRS, PEER, ()))
        for title, program, python, extra in writers:
            folder = pathlib.Path(name, "written")
            folder.mkdir()
            start = time.perf_counter()
            output = output_of(program, *extra, pictures, folder, PAIRS, python=python)
            wall, cpu = map(float, output.split())
            shutil.rmtree(folder)
            rows.append(
                [
                    title,
                    f"{PAIRS / wall:,.0f}",
                    f"{megabytes / wall:.0f}",
                    f"{1e6 * cpu / PAIRS:.0f}",
                    f"{time.perf_counter() - start:.0f}",
                ]
            )
    header = ["writer", "pairs/s", "MB/s", "core µs a pair", "with start, s"]
    return Table(f"Building {PAIRS:,} pairs, {megabytes:,.0f} MB", header, rows)
