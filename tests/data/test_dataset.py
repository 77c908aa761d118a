import itertools

import numpy as np
import pytest
import tensorflow as tf

from kmmft.data import build_dataset, decode_image, steps_per_epoch

BATCH, STEPS = 8, 7


def decode(record):
    return {"id": record["id"], "image": decode_image(record["image"], 8)}


def only_id(record):
    return {"id": record["id"]}


def add_noise(record, seed):
    noise = tf.random.stateless_uniform((8, 8, 3), seed)
    return {**record, "image": record["image"] + noise}


def ids(dataset, batches):
    return [
        [one.decode() for one in batch["id"]]
        for batch in dataset.take(batches).as_numpy_iterator()
    ]


def training(source, **options):
    options = {"preprocess": only_id, "batch_size": BATCH} | options
    return build_dataset(source, split="train", training=True, **options)


def flat(batches):
    return list(itertools.chain.from_iterable(batches))


@pytest.fixture(scope="module")
def uninterrupted(toy_directory):
    return ids(training(toy_directory), 3 * STEPS)


def test_epoch_has_each_record_at_most_once(uninterrupted, toy_directory):
    assert steps_per_epoch(toy_directory, "train", BATCH) == STEPS
    for epoch in range(3):
        seen = flat(uninterrupted[epoch * STEPS : (epoch + 1) * STEPS])
        assert len(seen) == len(set(seen)) == STEPS * BATCH


def test_order_differs_between_epochs_and_seeds(uninterrupted, toy_directory):
    assert uninterrupted[0] != uninterrupted[STEPS]
    first, second = uninterrupted[:STEPS], uninterrupted[STEPS : 2 * STEPS]
    # Even the records that are left out differ.
    assert set(flat(first)) != set(flat(second))
    assert ids(training(toy_directory, seed=1), 1)[0] != uninterrupted[0]


@pytest.mark.parametrize("step", [1, STEPS - 1, STEPS, 2 * STEPS + 3])
def test_restart_goes_on_where_it_was(step, uninterrupted, toy_directory):
    resumed = ids(training(toy_directory, start_step=step), 3)
    assert resumed == uninterrupted[step : step + 3]


def test_global_seed_has_no_effect(uninterrupted, toy_directory):
    tf.random.set_seed(1234)
    assert ids(training(toy_directory), 3) == uninterrupted[:3]


def test_images_and_augmentation_do_not_depend_on_parallelism(toy_directory):
    def pixels(parallel, step):
        dataset = training(
            toy_directory,
            preprocess=decode,
            augment=add_noise,
            batch_size=5,
            start_step=step,
            num_parallel_calls=parallel,
        )
        return np.stack([batch["image"] for batch in dataset.take(4 - step)])

    expected = pixels(1, 0)
    np.testing.assert_array_equal(pixels(4, 0), expected)
    np.testing.assert_array_equal(pixels(3, 2), expected[2:])
    # Each image has one colour: what is left is noise, another for each record.
    noise = expected - np.floor(expected)
    assert len({one.tobytes() for one in noise.reshape(-1, 8 * 8 * 3)}) == 20


def test_skipped_records_are_not_preprocessed(toy_directory):
    seen = []

    def watch(record):
        tf.py_function(lambda one: seen.append(one.numpy()), [record["id"]], [])
        return only_id(record)

    dataset = training(toy_directory, preprocess=watch, start_step=100 * STEPS + 3)
    ids(dataset, 1)
    # A few chunks are processed ahead; 703 batches came before.
    assert 0 < len(seen) < 20 * BATCH


def test_evaluation_sees_each_record_once_in_order(toy_directory):
    dataset = build_dataset(
        toy_directory, split="train", preprocess=only_id, batch_size=16, training=False
    )
    assert [len(batch) for batch in ids(dataset, -1)] == [16, 16, 16, 12]
    assert flat(ids(dataset, -1)) == [f"r{i}" for i in range(60)]


def test_evaluation_does_not_augment(toy_directory):
    dataset = build_dataset(
        toy_directory,
        split="test",
        preprocess=decode,
        augment=add_noise,
        batch_size=10,
        training=False,
    )
    images = next(iter(dataset))["image"]
    np.testing.assert_array_equal(images[:, 0, 0, 0], np.arange(10))


def test_batch_preprocess_may_return_pairs(toy_directory):
    dataset = training(
        toy_directory,
        batch_preprocess=lambda batch: (batch["id"], tf.strings.length(batch["id"])),
    )
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    names, lengths = next(iter(dataset))
    assert [len(name) for name in names.numpy()] == lengths.numpy().tolist()
    assert names.shape == (BATCH,)


def test_two_replicas_share_the_global_batch(
    toy_directory, two_replicas, uninterrupted
):
    iterator = iter(
        two_replicas.experimental_distribute_dataset(training(toy_directory))
    )
    for step in range(3):
        parts = two_replicas.experimental_local_results(next(iterator)["id"])
        assert [len(part) for part in parts] == [BATCH // 2, BATCH // 2]
        together = [one.decode() for part in parts for one in part.numpy()]
        assert together == uninterrupted[step]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be a positive int"),
        ({"batch_size": 61}, "with 60 records, batch_size=61"),
        ({"seed": 0.5}, "`seed` must be an int"),
        ({"start_step": -1}, "`start_step`"),
        ({"shuffle_buffer": 0}, "`shuffle_buffer`"),
        ({"max_bad_fraction": 2.0}, "`max_bad_fraction`"),
        ({"preprocess": None}, r"'captions' of shape \(None,\)"),
        ({"preprocess": lambda record: record["id"]}, "must return a record"),
    ],
)
def test_arguments_are_checked(options, message, toy_directory):
    with pytest.raises(ValueError, match=message):
        training(toy_directory, **options)


def test_evaluation_does_not_start_late(toy_directory):
    with pytest.raises(ValueError, match="0 in evaluation"):
        build_dataset(
            toy_directory, split="test", batch_size=2, training=False, start_step=1
        )
