"""Records a second of `build_dataset`, against decoding the same JPEGs and no more.

480 x 640 pixel JPEGs become batches of 224 pixel images. What a pipeline cannot beat
is the decoder, so that is the unit. Most of the rest goes into antialiased resizing
and, where it is asked for, colour jitter; parsing, shuffling and the isolation of bad
records together are within the noise. Measured on two cores: 0.23 of the decoder's
rate without augmentation, 0.18 with it. The target, 0.8, needs decoding, cropping and
resizing in one pass.
"""

import pathlib
import tempfile
import time

import numpy as np
import tensorflow as tf

import kmmft
from kmmft.evaluation import Table
from tfrecords_tools import DatasetWriter

RECORDS = 512
BATCH_SIZE = 64
IMAGE_SIZE = 224


def write_records(folder: pathlib.Path) -> pathlib.Path:
    random = np.random.default_rng(0)
    features = kmmft.data.schema.labelled(text=False, class_names=["thing"])
    with DatasetWriter(folder, "pictures", features) as writer:
        for number in range(RECORDS):
            coarse = random.integers(0, 256, (15, 20, 3)).astype(np.float32)
            smooth = tf.image.resize(coarse, (480, 640), "bicubic")
            picture = tf.saturate_cast(smooth, tf.uint8)
            image = tf.io.encode_jpeg(picture, quality=90).numpy()
            writer.write("train", {"id": str(number), "image": image, "label": 0})
    return folder / "pictures/1.0.0"


def images_per_second(dataset: tf.data.Dataset) -> float:
    """Over as many batches as one pass has, after a first one."""
    batches = iter(dataset)
    next(batches)
    start, images = time.perf_counter(), 0
    for batch in batches:
        images += len(batch)
        if images >= 2 * RECORDS:
            break
    return images / (time.perf_counter() - start)


def decode_only(source: kmmft.data.RecordSource) -> tf.data.Dataset:
    def decode(serialized):
        record = kmmft.data.parse_record(serialized, source.features)
        return tf.reduce_sum(tf.io.decode_jpeg(record["image"])[0, 0, 0])

    records = kmmft.data.read_records(source, "train").repeat(4)
    return records.map(decode, num_parallel_calls=2).batch(BATCH_SIZE)


def built(source: kmmft.data.RecordSource, augment) -> tf.data.Dataset:
    dataset = kmmft.data.build_dataset(
        source,
        split="train",
        preprocess=lambda record: {
            "image": kmmft.data.decode_image(record["image"], IMAGE_SIZE)
        },
        augment=augment,
        batch_size=BATCH_SIZE,
        training=True,
    )
    return dataset.map(lambda batch: batch["image"])


def measure() -> Table:
    augmentation = kmmft.data.ImageAugmentation()
    with tempfile.TemporaryDirectory() as folder:
        source = kmmft.data.open_source(write_records(pathlib.Path(folder)))
        decoded = images_per_second(decode_only(source))
        rows = [["decoding alone", f"{decoded:.0f}", "1.00"]]
        for name, augment in (
            ("build_dataset", None),
            (
                "build_dataset, augmented",
                lambda r, seed: {"image": augmentation(r["image"], seed)},
            ),
        ):
            rate = images_per_second(built(source, augment))
            rows.append([name, f"{rate:.0f}", f"{rate / decoded:.2f}"])
    return Table("Input, 480x640 JPEG to 224", ["what", "images/s", "ratio"], rows)
