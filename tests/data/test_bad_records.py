import itertools
import logging

import pytest
import tensorflow as tf

from kmmft.data import (
    BadRecords,
    build_dataset,
    clear_data_errors,
    decode_image,
    schema,
)
from kmmft.data.isolation import first_line

from .conftest import image_text_records, write_records

BAD = (5, 17, 18)


@pytest.fixture(scope="module")
def bad_directory(tmp_path_factory):
    """60 records, of which three hold no image, and a split where none does."""
    return write_records(
        tmp_path_factory.mktemp("bad"),
        schema.image_text(),
        {
            "train": image_text_records(60, bad=BAD),
            "broken": image_text_records(40, bad=range(40)),
        },
    )


def decode(record):
    return {"id": record["id"], "image": decode_image(record["image"], 8)}


def build(source, training, **options):
    options = {
        "split": "train",
        "max_bad_fraction": 0.05,
        "preprocess": decode,
    } | options
    return build_dataset(source, batch_size=6, training=training, **options)


def ids(dataset, batches=-1):
    return [
        [one.decode() for one in batch["id"]]
        for batch in dataset.take(batches).as_numpy_iterator()
    ]


def flat(batches):
    return list(itertools.chain.from_iterable(batches))


def test_evaluation_leaves_them_out_and_names_them(bad_directory, caplog):
    log = BadRecords()
    with caplog.at_level(logging.WARNING):
        seen = flat(ids(build(bad_directory, training=False, bad_records=log)))
    assert seen == [f"r{i}" for i in range(60) if i not in BAD]
    assert sorted(record.id for record in log.records) == ["r17", "r18", "r5"]
    assert {record.split for record in log.records} == {"train"}
    for record in log.records:
        assert record.reason.startswith("Unknown image file format.")
        assert f"Skipped record '{record.id}'" in caplog.text


def test_training_keeps_full_batches_and_exact_restarts(bad_directory):
    log = BadRecords()
    seen = ids(build(bad_directory, training=True, bad_records=log), 24)
    assert all(len(batch) == 6 for batch in seen)
    assert not {f"r{i}" for i in BAD} & set(flat(seen))
    # Two epochs have met each of them; it counts once.
    assert log.count("train") == log.count() == 3
    for step in (1, 13):
        resumed = ids(build(bad_directory, training=True, start_step=step), 3)
        assert resumed == seen[step : step + 3]


def test_a_record_that_fails_once_only_is_not_lost_silently(toy_directory):
    """As where another machine's disk is away for a moment."""
    seen = []

    def sometimes(name):
        seen.append(name)
        if name == b"r5" and seen.count(name) == 1:
            raise OSError("away")
        return name

    dataset = build_dataset(
        toy_directory,
        split="train",
        preprocess=lambda record: {
            "id": tf.ensure_shape(
                tf.numpy_function(sometimes, [record["id"]], tf.string), ()
            )
        },
        batch_size=6,
        training=False,
    )
    with pytest.raises(tf.errors.OpError, match="failed once and not again"):
        ids(dataset)


def test_a_record_counts_once_whatever_the_reason():
    log = BadRecords()
    for pixels in (17, 18):
        log.add("train", "r3", f"a crop of {pixels}", limit=1, shard="a", number=3)
    assert log.count() == 1
    with pytest.raises(ValueError, match="2 in split 'train', where 1 may"):
        log.add("train", "r3", "a crop of 17", limit=1, shard="a", number=4)


def test_good_records_keep_their_places(bad_directory, toy_directory):
    seen = flat(ids(build(bad_directory, training=True), 10))
    sound = flat(ids(build(toy_directory, training=True), 10))
    bad = {f"r{i}" for i in BAD}
    # Only within the chunks of 16 that hold a bad record, others may move.
    for start in range(0, 48, 16):
        chunk = sound[start : start + 16]
        kept = [one for one in chunk if one not in bad]
        assert seen[start : start + 16][: len(kept)] == kept


@pytest.mark.parametrize("fraction", [0, 0.04])
def test_too_many_stop_the_run_with_one_line(fraction, bad_directory):
    dataset = build(bad_directory, training=True, max_bad_fraction=fraction)
    with (
        pytest.raises(ValueError, match=r"Too many bad records: .* is 'r\d+'") as error,
        clear_data_errors(bad_directory),
    ):
        ids(dataset, 30)
    assert "\n" not in str(error.value)
    assert "max_bad_fraction" in str(error.value)


def test_one_bad_record_is_always_allowed_unless_none_is(bad_directory):
    log = BadRecords()
    dataset = build(bad_directory, False, max_bad_fraction=1e-6, bad_records=log)
    with pytest.raises(tf.errors.OpError, match=r"[23] in split 'train', where 1 may"):
        ids(dataset)


def test_chunks_without_any_good_record_do_not_hang(bad_directory):
    log = BadRecords()
    dataset = build(
        bad_directory, False, split="broken", max_bad_fraction=1.0, bad_records=log
    )
    assert ids(dataset) == []
    assert log.count("broken") == 40


def test_every_step_of_preprocessing_is_guarded(bad_directory):
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(["r0", "r1"], [0, 1]), default_value=-1
    )

    def label(record):
        number = table.lookup(record["id"])
        with tf.control_dependencies(
            [tf.debugging.Assert(number >= 0, ["Unknown answer:", record["id"]])]
        ):
            return {"id": record["id"], "label": tf.identity(number)}

    log = BadRecords()
    dataset = build(
        bad_directory, False, preprocess=label, max_bad_fraction=1.0, bad_records=log
    )
    assert flat(ids(dataset)) == ["r0", "r1"]
    assert log.count() == 58
    assert log.records[0].reason.startswith("Unknown answer:")


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("{{function_node a}} Input is empty. [Op:DecodeImage]", "Input is empty."),
        (
            'Graph execution error:\n\nDetected at node x defined at:\n  File "a"\n\n'
            "It failed.\n\t [[{{node x}}]]",
            "It failed.",
        ),
        ("assertion failed: [Not so:] [7]", "Not so: [7]"),
        ("", "ValueError"),
    ],
)
def test_first_line_is_the_reason(message, line):
    assert first_line(ValueError(message)) == line
