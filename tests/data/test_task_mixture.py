"""Mixtures have the asked shares, and go on where a run stopped."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from kmmft.data import build_dataset, mix_tasks, task_batch_sizes

SIZES = {"a": 60, "b": 20, "c": 5}


def examples(sizes=SIZES):
    """By task, numbers that tell task and example."""
    return {
        task: tf.data.Dataset.range(1000 * number, 1000 * number + size)
        for number, (task, size) in enumerate(sizes.items())
    }


def batches(dataset, number):
    return list(dataset.take(number).as_numpy_iterator())


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        # 17 * (60, 20, 5) / 85.
        ("size", {"a": 12, "b": 4, "c": 1}),
        # 17 * sqrt(60, 20, 5) / 14.454 = 9.11, 5.26, 2.63: c has the largest rest.
        ("temperature", {"a": 9, "b": 5, "c": 3}),
        ("round_robin", {"a": 17, "b": 17, "c": 17}),
        ({"a": 1, "b": 1, "c": 6.5}, {"a": 2, "b": 2, "c": 13}),
    ],
)
def test_shares(sampling, expected):
    sizes = SIZES | {"c": 50} if sampling == "round_robin" else SIZES
    sizes = sizes | {"c": 50} if isinstance(sampling, dict) else sizes
    data = mix_tasks(examples(sizes), 17, sampling=sampling)
    for batch in batches(data, 3):
        assert {task: len(part) for task, part in batch.items()} == expected
        for number, task in enumerate(SIZES):
            assert set(batch[task] // 1000) == {number}


def test_temperature_goes_from_sizes_to_equal_shares():
    sources = examples({"a": 960, "b": 40})

    def count(temperature):
        options = {"sampling": "temperature", "temperature": temperature}
        return len(batches(mix_tasks(sources, 25, **options), 1)[0]["b"])

    # 25 * 40^(1/t) / (40^(1/t) + 960^(1/t)) = 1, 4.24, 7.78 and 12.49.
    assert [count(1), count(2), count(4), count(1000)] == [1, 4, 8, 12]


def test_largest_remainder_with_a_part_for_each():
    # 10 * (.55, .26, .19): whole parts 5, 2, 1, then the rests .6 of b and .9 of c.
    shares = {"a": 0.55, "b": 0.26, "c": 0.19}
    assert task_batch_sizes(shares, 10) == {"a": 5, "b": 3, "c": 2}
    assert task_batch_sizes({"a": 998, "b": 1, "c": 1}, 4) == {"a": 2, "b": 1, "c": 1}
    assert task_batch_sizes({"a": 3, "b": 1}, 8, multiple_of=2) == {"a": 6, "b": 2}


@pytest.mark.parametrize("total", range(6, 60, 6))
def test_parts_add_up(total):
    rng = np.random.default_rng(total)
    shares = dict(zip("abc", rng.uniform(0.01, 1, 3), strict=True))
    counts = task_batch_sizes(shares, total, multiple_of=2)
    assert sum(counts.values()) == total
    assert all(count >= 2 and count % 2 == 0 for count in counts.values())
    exact = {task: total * x / sum(shares.values()) for task, x in shares.items()}
    if all(x >= 2 for x in exact.values()):
        assert all(abs(counts[task] - exact[task]) < 2 for task in counts)


def test_each_task_has_epochs_of_its_own():
    data = batches(mix_tasks(examples(), 17), 10)
    for task, count in (("a", 12), ("b", 4), ("c", 1)):
        steps = SIZES[task] // count
        seen = [batch[task].tolist() for batch in data]
        for start in range(0, 10 - steps + 1, steps):
            epoch = np.concatenate(seen[start : start + steps])
            assert len(np.unique(epoch)) == steps * count
        assert seen[:steps] != seen[steps : 2 * steps]
    assert (
        data[0]["a"].tolist()
        != batches(mix_tasks(examples(), 17, seed=1), 1)[0]["a"].tolist()
    )


@pytest.mark.parametrize("step", [1, 4, 5, 13])
def test_resumed_is_uninterrupted(step):
    expected = batches(mix_tasks(examples(), 17, seed=3), step + 3)[step:]
    tf.random.set_seed(step)
    resumed = batches(mix_tasks(examples(), 17, seed=3, start_step=step), 3)
    for one, other in zip(expected, resumed, strict=True):
        for task in SIZES:
            np.testing.assert_array_equal(one[task], other[task])


def test_functions_get_their_part_and_the_step(toy_directory):
    records = functools.partial(
        build_dataset,
        toy_directory,
        split="train",
        training=True,
        preprocess=lambda record: {"id": record["id"]},
    )
    sources = {"records": records, "numbers": examples()["b"]}

    def ids(start_step, number):
        data = mix_tasks(sources, 8, sizes={"records": 60}, start_step=start_step)
        return [batch["records"]["id"].tolist() for batch in batches(data, number)]

    expected = [
        batch["id"].tolist()
        for batch in batches(records(batch_size=6, start_step=0), 12)
    ]
    assert ids(0, 12) == expected
    assert ids(11, 1) == expected[11:]


def test_replicas_share_each_tasks_part(two_replicas):
    data = mix_tasks(examples(), 18, multiple_of=2)
    counts = {"a": 12, "b": 4, "c": 2}
    whole = batches(data, 2)
    distributed = iter(two_replicas.experimental_distribute_dataset(data))
    for batch in whole:
        parts = next(distributed)
        for task, count in counts.items():
            own = [
                x.numpy() for x in two_replicas.experimental_local_results(parts[task])
            ]
            assert [len(x) for x in own] == [count // 2] * 2
            np.testing.assert_array_equal(np.concatenate(own), batch[task])


BAD = {
    "needs a task": lambda: mix_tasks({}, 4),
    "`sampling` must be one of": lambda: mix_tasks(examples(), 4, sampling="random"),
    "a number for each of": lambda: mix_tasks(examples(), 4, sampling={"a": 1}),
    "share must be positive": lambda: mix_tasks(
        examples(), 4, sampling={"a": 1, "b": 0, "c": 1}
    ),
    "Pass 3 or more": lambda: mix_tasks(examples(), 2),
    "Pass 6 or more": lambda: mix_tasks(examples(), 9, multiple_of=2),
    "5 examples of 'c' for 6 places": lambda: mix_tasks(
        examples(), 6, sampling="round_robin"
    ),
    r"none for \['f'\]": lambda: mix_tasks({**examples(), "f": build_dataset}, 4),
    "neither for": lambda: mix_tasks({"a": [1, 2]}, 4),
    "must be finite": lambda: mix_tasks({"a": examples()["a"].repeat()}, 4),
    "at least 1": lambda: mix_tasks(
        examples(), 4, sampling="temperature", temperature=0.5
    ),
    "must not be negative": lambda: mix_tasks(examples(), 4, start_step=-1),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments_are_errors(message):
    with pytest.raises(ValueError, match=message):
        BAD[message]()
