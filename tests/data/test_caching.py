"""Records that are kept nearer, and records that are not on a local disk."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from kmmft.data import BadRecords, build_dataset, open_source, read_records, schema

from .conftest import image_text_records, write_records

BAD = (3, 31)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_records(
        tmp_path_factory.mktemp("data"),
        schema.image_text(),
        {"train": image_text_records(60, bad=BAD)},
    )


def noise(record, seed):
    return {
        **record,
        "image": record["image"] + tf.random.stateless_uniform((4, 4, 3), seed),
    }


def batches(source, **options):
    dataset = build_dataset(
        source,
        schema.image_text(),
        split="train",
        augment=noise,
        batch_size=8,
        training=True,
        max_bad_fraction=1.0,
        **{"preprocess": decode} | options,
    )
    return list(dataset.take(9 - options.get("start_step", 0)).as_numpy_iterator())


def decode(record):
    image = tf.image.resize(tf.io.decode_png(record["image"], 3), (4, 4))
    return {"id": record["id"], "image": image}


def only_id(record):
    return {"id": record["id"]}


@pytest.fixture(scope="module")
def uncached(directory):
    return batches(directory)


def assert_same(some, others):
    for one, other in zip(some, others, strict=True):
        np.testing.assert_equal(one, other)


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_decoded_records_are_those_of_preprocess(place, directory, uncached, tmp_path):
    cache = place if place == "memory" else tmp_path / "decoded"
    log = BadRecords()
    once = batches(directory, cache=cache, cache_decoded=True, bad_records=log)
    assert_same(once, uncached)
    assert {record.number for record in log.records} == {3}
    assert {record.shard[-5:] for record in log.records} == {"00000", "00004"}
    if place == "memory":
        return

    def never(record):
        with tf.control_dependencies([tf.debugging.Assert(False, ["Decoded again"])]):
            return tf.nest.map_structure(tf.identity, decode(record))

    # What a kill left undone is done, and no more.
    resumed = batches(
        directory, cache=cache, cache_decoded=True, preprocess=never, start_step=4
    )
    assert_same(resumed, uncached[4:])
    (tmp_path / "decoded/decoded-00008").unlink()
    assert_same(batches(directory, cache=cache, cache_decoded=True), uncached)
    with pytest.raises(ValueError, match="holds other features"):
        batches(
            directory,
            cache=cache,
            cache_decoded=True,
            preprocess=lambda r: {"id": r["id"]},
        )


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_copies_of_shards(place, directory, uncached, tmp_path):
    source = shutil.copytree(directory, tmp_path / "toy/1.0.0")
    cache = place if place == "memory" else tmp_path / "near"
    opened = open_source(source)
    assert_same(batches(opened, cache=cache), uncached)
    if place == "disk":
        copies = sorted(cache.iterdir())
        assert len(copies) == 9
        # Nothing but the copies is read.
        for copy in copies:
            copy.write_bytes(b"")
        with pytest.raises(tf.errors.OpError, match=r"Too many bad|16 in a row"):
            batches(opened, cache=cache)


def test_records_that_are_not_on_a_local_disk(directory, uncached):
    """`ram://` stands for `gs://` and all that `tf.io.gfile` opens."""
    for file in open_source(directory).split("train").files:
        tf.io.gfile.makedirs("ram://far")
        tf.io.gfile.copy(file, f"ram://far/{file.rpartition('/')[2]}", overwrite=True)
    source = "ram://far/*.tfrecord*"
    assert_same(batches(source), uncached)
    opened = open_source(source, schema.image_text())
    assert sum(1 for _ in read_records(opened, "train")) == 60
    broken = opened.splits["train"].files[2]
    with tf.io.gfile.GFile(broken, "rb") as file:
        data = bytearray(file.read())
    data[3] ^= 1
    tf.io.gfile.remove(broken)
    with tf.io.gfile.GFile(broken, "wb") as file:
        file.write(bytes(data))
    assert_same(batches(source), uncached)
