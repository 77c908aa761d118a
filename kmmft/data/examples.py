"""Decoded examples in memory, for many short runs over the same few."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Examples:
    """A split's inputs and labels as arrays.

    Decoding the same thousand images for each of a hundred runs takes longer than
    the runs. Use `build_dataset` for data that do not fit into memory.

    Attributes:
        inputs: Arrays `(examples, ...)` by name, as a model takes them.
        labels: int array `(examples,)`.

    Example:
        >>> data = kmmft.data.Examples({"image": np.zeros((6, 2, 2, 3))}, np.arange(6) % 2)
        >>> len(data), len(data.few(2, seed=0)), len(data.few(0.5, seed=0))
        (6, 4, 3)
    """  # noqa: E501

    inputs: Mapping[str, np.ndarray]
    labels: np.ndarray

    @classmethod
    def collect(
        cls, dataset: tf.data.Dataset, max_examples: int | None = None
    ) -> "Examples":
        """Reads batches of `(inputs, labels)` that come to an end.

        Args:
            dataset: Batches, as `build_dataset` makes them for evaluation.
            max_examples: How many to read; `None` for all.

        Returns:
            `Examples`.

        Raises:
            ValueError: If the dataset is empty.
        """
        rows = dataset.unbatch()
        if max_examples is not None:
            rows = rows.take(max_examples)
        batches = list(rows.batch(256).as_numpy_iterator())
        if not batches:
            raise ValueError(
                "There must be examples to keep. Received: an empty dataset. Choose "
                "another split."
            )
        names = batches[0][0]
        return cls(
            {name: np.concatenate([x[name] for x, _ in batches]) for name in names},
            np.concatenate([y for _, y in batches]),
        )

    def __len__(self) -> int:
        return len(self.labels)

    def choose(self, rows: np.ndarray) -> "Examples":
        """The examples of these numbers, in this order."""
        chosen = {name: value[rows] for name, value in self.inputs.items()}
        return Examples(chosen, self.labels[rows])

    def few(self, amount: float, seed: int) -> "Examples":
        """Draws a few labelled examples.

        Args:
            amount: From 1 on: examples of each class (all, where a class has fewer).
                Below 1: share of all examples, whatever their class.
            seed: Seed of the draw. More of the same seed hold the fewer.

        Returns:
            `Examples`.

        Raises:
            ValueError: If `amount` is not positive.
        """
        if amount <= 0:
            raise ValueError(
                f"`amount` must be positive. Received: {amount}. Give a number of "
                "examples a class, or a share below 1."
            )
        order = np.random.default_rng(seed).permutation(len(self))
        if amount < 1:
            return self.choose(order[: max(1, round(amount * len(self)))])
        classes = self.labels[order]
        rows = [order[classes == name][: int(amount)] for name in np.unique(classes)]
        return self.choose(np.concatenate(rows))

    def sure_ones(self, probabilities: np.ndarray, threshold: float) -> "Examples":
        """Those whose class a model is sure of, with that class as their label.

        Args:
            probabilities: float array `(examples, classes)`, a model's answers.
            threshold: Least probability of the likeliest class.

        Returns:
            `Examples`, perhaps none; the labels of these are not looked at.

        Raises:
            ValueError: If there is not one row of probabilities an example.

        References:
            - [Yarowsky, 1995](https://aclanthology.org/P95-1026), section 4, step 3.
        """
        probabilities = np.asarray(probabilities)
        if probabilities.ndim != 2 or len(probabilities) != len(self):
            raise ValueError(
                "`probabilities` must be (examples, classes). Received: shape "
                f"{probabilities.shape} for {len(self)} examples."
            )
        rows = np.flatnonzero(probabilities.max(axis=1) >= threshold)
        labels = probabilities[rows].argmax(axis=1).astype(self.labels.dtype)
        return dataclasses.replace(self.choose(rows), labels=labels)

    def with_others(self, others: "Examples") -> "Examples":
        """These and as many others, or others and as many of these, by repeating.

        So half of what is drawn is of either kind.

        Args:
            others: Examples with the same inputs, perhaps none.

        Returns:
            `Examples`; without others these.
        """
        if not len(others):
            return self
        size = max(len(self), len(others))
        mine, theirs = (
            some.choose(np.resize(np.arange(len(some)), size))
            for some in (self, others)
        )
        return Examples(
            {
                name: np.concatenate([value, theirs.inputs[name]])
                for name, value in mine.inputs.items()
            },
            np.concatenate([mine.labels, theirs.labels]),
        )

    def training_batches(
        self,
        batch_size: int,
        seed: int,
        augment: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
    ) -> tf.data.Dataset:
        """Endless, shuffled batches of `(inputs, labels)`.

        Args:
            batch_size: Examples in a batch.
            seed: Seed of order and augmentation.
            augment: `(image, seed) -> image` for the input `image`, such as
                `ImageAugmentation`; seeds are int32 tensors `(2,)`.

        Returns:
            `tf.data.Dataset`.
        """
        # Captured, not sliced: a graph's constants are copied into it.
        inputs = {name: tf.constant(value) for name, value in self.inputs.items()}
        labels = tf.constant(self.labels)

        def example(position, row):
            taken = {name: value[row] for name, value in inputs.items()}
            if augment is not None and "image" in taken:
                numbers = tf.stack([tf.constant(seed, tf.int64), position])
                taken["image"] = augment(taken["image"], tf.cast(numbers, tf.int32))
            return taken, labels[row]

        options = tf.data.Options()
        # Tuning costs short runs more than it gives.
        options.autotune.enabled = False
        return (
            tf.data.Dataset.range(len(self))
            .shuffle(len(self), seed=seed)
            .repeat()
            .enumerate()
            .map(example, num_parallel_calls=2, deterministic=True)
            .batch(batch_size, drop_remainder=True)
            .prefetch(2)
            .with_options(options)
        )
