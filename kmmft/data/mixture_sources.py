"""What a mixture draws from, how large it is, and each part's share."""

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

Source = tf.data.Dataset | Callable[..., tf.data.Dataset]


def shuffled_batches(
    examples: tf.data.Dataset,
    steps: int,
    count: int,
    seed: tuple[int, int],
    start_step: int,
    shuffle_buffer: int,
) -> tf.data.Dataset:
    """Repeats one source for ever, in an order that depends on seed and epoch.

    Args:
        examples: Finite dataset of single examples.
        steps: Batches in an epoch.
        count: Examples in a batch.
        seed: Seed, and number of the source.
        start_step: Batches to leave out at the start.
        shuffle_buffer: Examples that are held to draw from.

    Returns:
        Endless `tf.data.Dataset` of batches.
    """

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        # `shuffle` mixes the global seed into its own.
        tf.random.set_seed(1)
        key = tf.random.experimental.stateless_fold_in(
            tf.constant(seed, tf.int64), epoch
        )
        number = tf.random.stateless_uniform([], key, None, None, tf.int64)
        shuffled = examples.shuffle(
            shuffle_buffer, seed=number, reshuffle_each_iteration=False
        )
        return shuffled.take(steps * count).batch(count, drop_remainder=True)

    start_epoch, skipped = divmod(start_step, steps)
    epochs = tf.data.Dataset.range(start_epoch, tf.int64.max)
    return epochs.flat_map(epoch_batches).skip(skipped)


def source_sizes(
    sources: Mapping[str, Source], given: Mapping[str, int]
) -> dict[str, int]:
    """Numbers of examples, of those sources where they are known.

    Args:
        sources: Datasets, or functions that make them, by name.
        given: Numbers that the user knows.

    Returns:
        Numbers by name.

    Raises:
        ValueError: If a dataset does not know its size and neither does the user.
    """
    known = {}
    for task, source in sources.items():
        if task in given:
            known[task] = given[task]
        elif isinstance(source, tf.data.Dataset):
            size = int(source.cardinality())
            if size < 1:
                raise ValueError(
                    "A dataset must be finite, have examples and know its size, or "
                    f"have it in `sizes`. Received: {task!r} with {source}, of size "
                    f"{size}. Pass its size, and no repeated dataset."
                )
            known[task] = size
    return known


def sampling_shares(
    sources: Mapping[str, Source],
    sampling: str | Mapping[str, float],
    sizes: Mapping[str, int],
    temperature: float,
    choices: Sequence[str],
) -> dict[str, float]:
    """How much of a mixture each source is to be.

    Args:
        sources: Datasets, or functions that make them, by name.
        sampling: One of `choices`, or numbers by name.
        sizes: Numbers of examples by name, where they are known.
        temperature: As in `mix_tasks`.
        choices: What `sampling` may be called.

    Returns:
        Positive numbers by name; their sum does not matter.

    Raises:
        ValueError: If `sampling` or `temperature` is not valid or a size is missing.
    """
    if isinstance(sampling, Mapping):
        if set(sampling) != set(sources):
            raise ValueError(
                f"`sampling` must have a number for each of {list(sources)}. "
                f"Received: {dict(sampling)}."
            )
        return {task: float(sampling[task]) for task in sources}
    if sampling not in choices:
        raise ValueError(
            f"`sampling` must be one of {tuple(choices)} or numbers by name. "
            f"Received: sampling={sampling!r}."
        )
    missing = [task for task in sources if task not in sizes]
    if missing:
        raise ValueError(
            f"sampling={sampling!r} needs the number of examples of each source. "
            f"Received: none for {missing}. Pass them in `sizes`."
        )
    if not temperature >= 1:
        raise ValueError(
            f"`temperature` must be at least 1. Received: temperature={temperature}."
        )
    power = 1 / temperature if sampling == "temperature" else 1.0
    return {task: float(sizes[task]) ** power for task in sources}


def source_steps(task: str, size: int, count: int) -> int:
    """Steps in an epoch of a source of `size` examples, `count` in each step."""
    if size < count:
        raise ValueError(
            "A source must have an example for each place in its part of a batch. "
            f"Received: {size} examples of {task!r} for {count} places. Lower "
            "`batch_size` or its share."
        )
    return size // count


def check_sources(sources: Mapping[str, Source], start_step: int, seed: int) -> None:
    """Checks what all mixtures take.

    Raises:
        ValueError: If there is no source, one is neither dataset nor function, or
            `start_step` or `seed` is not valid.
    """
    if not sources:
        raise ValueError("A mixture needs a task or data set. Received: none.")
    wrong = [
        task
        for task, source in sources.items()
        if not isinstance(source, tf.data.Dataset) and not callable(source)
    ]
    if wrong:
        raise ValueError(
            "Each source needs a tf.data.Dataset, or a function of batch_size and "
            f"start_step that makes one. Received: neither for {wrong}."
        )
    if start_step < 0 or not isinstance(seed, int):
        raise ValueError(
            "`start_step` must not be negative, and `seed` must be an int. "
            f"Received: start_step={start_step}, seed={seed!r}."
        )
