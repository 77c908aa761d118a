"""Mixtures keep their shares, and go on where a run stopped."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from kmmft.data import DatasetMixture, build_dataset, mix_datasets
from kmmft.training import RecipeConfig, RunDirectory, SourceCounts, resumable_fit

SIZES = {"a": 60, "b": 20, "c": 5}


def examples(sizes=SIZES):
    """By source, numbers that tell source and example."""
    return {
        name: tf.data.Dataset.range(1000 * number, 1000 * number + size)
        for number, (name, size) in enumerate(sizes.items())
    }


def batches(dataset, number):
    return list(dataset.take(number).as_numpy_iterator())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (60 / 85, 20 / 85, 5 / 85)),
        # sqrt(60, 20, 5) / 14.454.
        ({"sampling": "temperature"}, (0.5359, 0.3094, 0.1547)),
        ({"sampling": "temperature", "temperature": 1e9}, (1 / 3, 1 / 3, 1 / 3)),
        ({"sampling": {"a": 1, "b": 98.9, "c": 0.1}}, (0.01, 0.989, 0.001)),
    ],
)
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_shares_are_kept_in_batches_and_over_steps(options, expected, batch_size):
    mixture = DatasetMixture(examples(), batch_size, seed=3, **options)
    np.testing.assert_allclose([*mixture.shares.values()], expected, atol=1e-4)
    for steps in (1, 13, 1000):
        counts = np.array([*mixture.counts(steps).values()])
        assert counts.sum() == steps * batch_size
        exact = steps * batch_size * np.array([*mixture.shares.values()])
        # The golden ratio's discrepancy grows with the logarithm of the steps.
        assert np.abs(counts - exact).max() <= 1 + np.log(steps)
    for step in range(20):
        counts = np.array([*mixture.counts(step + 1, step).values()])
        assert np.abs(counts - batch_size * np.array(expected)).max() < 1.01


def test_batches_hold_what_is_counted():
    mixture = DatasetMixture(examples(), 9, sampling="temperature", seed=5)
    for step, batch in enumerate(batches(mixture.dataset(), 30)):
        found = np.bincount(batch // 1000, minlength=3)
        assert found.tolist() == [*mixture.counts(step + 1, step).values()]
    orders = {tuple(batch // 1000) for batch in batches(mixture.dataset(), 5)}
    assert len(orders) == 5


def test_each_source_has_epochs_of_its_own():
    seen = np.concatenate(batches(mix_datasets(examples(), 17), 20))
    for number, size in enumerate(SIZES.values()):
        own = seen[seen // 1000 == number]
        epochs = [own[i : i + size] for i in range(0, len(own) - size + 1, size)]
        assert len(epochs) >= 3
        for epoch in epochs:
            assert len(np.unique(epoch)) == size
        assert epochs[0].tolist() != epochs[1].tolist()


@pytest.mark.parametrize("step", [1, 6, 23])
def test_resumed_is_uninterrupted(step):
    options = {"sampling": {"a": 5, "b": 1, "c": 0.2}, "seed": 4}
    expected = batches(mix_datasets(examples(), 10, **options), step + 3)[step:]
    tf.random.set_seed(step)
    resumed = batches(mix_datasets(examples(), 10, start_step=step, **options), 3)
    np.testing.assert_array_equal(expected, resumed)


def test_records_of_directories(toy_directory):
    records = functools.partial(
        build_dataset,
        toy_directory,
        split="train",
        training=True,
        preprocess=lambda record: {"id": record["id"]},
        augment=lambda record, seed: {
            **record,
            "draw": tf.random.stateless_uniform((), seed),
        },
    )
    mixture = DatasetMixture(
        {"first": records, "second": functools.partial(records, seed=1)},
        4,
        sampling={"first": 3, "second": 1},
        batch_preprocess=lambda batch: {**batch, "size": tf.size(batch["id"])},
    )
    whole = batches(mixture.dataset(), 25)
    assert all(batch["size"] == 4 for batch in whole)
    alone = np.concatenate(
        [b["draw"] for b in batches(records(batch_size=1, start_step=0), 75)]
    )
    assert set(alone) < {draw for batch in whole for draw in batch["draw"]}
    for one, other in zip(whole[21:], batches(mixture.dataset(21), 4), strict=True):
        np.testing.assert_array_equal(one["id"], other["id"])
        np.testing.assert_array_equal(one["draw"], other["draw"])


def test_counts_in_tensorboard_of_a_resumed_run(tmp_path):
    import keras

    rows = {
        name: data.map(lambda x: ([tf.cast(x, tf.float32) / 3000], 1.0))
        for name, data in examples().items()
    }
    mixture = DatasetMixture(rows, 8, sampling="temperature")

    def train(folder, epochs):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        with RunDirectory(folder, RecipeConfig()) as run:
            resumable_fit(
                model,
                mixture.dataset,
                run=run,
                steps_per_epoch=5,
                epochs=epochs,
                callbacks=[SourceCounts(mixture, 5)],
                verbose=0,
            )
            return model.get_weights(), run.history()

    weights, _ = train(tmp_path / "whole", 2)
    train(tmp_path / "resumed", 1)
    again, resumed = train(tmp_path / "resumed", 2)
    for one, other in zip(weights, again, strict=True):
        np.testing.assert_array_equal(one, other)
    logged = [[row[f"examples/{name}"] for name in SIZES] for row in resumed]
    assert logged == [[*mixture.counts(n).values()] for n in (5, 10)]
    tags = {
        value.tag: float(tf.make_ndarray(value.tensor))
        for file in sorted((tmp_path / "whole/tensorboard/train").glob("*"))
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
        if value.tag.startswith("epoch_examples/")
    }
    assert tags == {f"epoch_examples/{n}": c for n, c in mixture.counts(10).items()}


def test_replicas_share_each_batch(two_replicas):
    data = mix_datasets(examples(), 8)
    parts = next(iter(two_replicas.experimental_distribute_dataset(data)))
    own = [x.numpy() for x in two_replicas.experimental_local_results(parts)]
    np.testing.assert_array_equal(np.concatenate(own), batches(data, 1)[0])


BAD = {
    "needs a task or data set": lambda: mix_datasets({}, 4),
    "`sampling` must be one of": lambda: mix_datasets(examples(), 4, sampling="all"),
    "a number for each of": lambda: mix_datasets(examples(), 4, sampling={"a": 1}),
    "positive share": lambda: mix_datasets(
        examples(), 4, sampling={"a": 1, "b": 0, "c": 1}
    ),
    "`batch_size` must": lambda: mix_datasets(examples(), 0),
    r"none for \['f'\]": lambda: mix_datasets({"f": build_dataset}, 4),
    "must not be negative": lambda: mix_datasets(examples(), 4, start_step=-1),
    "examples of the same form": lambda: mix_datasets(
        {**examples(), "d": tf.data.Dataset.range(4).map(lambda x: {"x": x})}, 4
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments_are_errors(message):
    with pytest.raises(ValueError, match=message):
        BAD[message]()
