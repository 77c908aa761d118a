"""Batches of several tasks together, as `kmmft.models.MultiTask` takes them."""

from collections.abc import Callable, Mapping

import tensorflow as tf

from kmmft.data.dataset import training_options

SAMPLING = ("size", "temperature", "round_robin")

Source = tf.data.Dataset | Callable[..., tf.data.Dataset]


def mix_tasks(
    sources: Mapping[str, Source],
    batch_size: int,
    *,
    sampling: str | Mapping[str, float] = "size",
    temperature: float = 2.0,
    sizes: Mapping[str, int] | None = None,
    multiple_of: int = 1,
    seed: int = 0,
    start_step: int = 0,
    shuffle_buffer: int = 10_000,
) -> tf.data.Dataset:
    """Mixes the training data of several tasks.

    Each batch holds examples of all tasks, as many of each as `task_batch_sizes` says:
    the same numbers in every step, so that nothing is left to chance and graphs have
    fixed shapes. Each task goes through its own epochs at its own pace: `size //
    count` steps make one, in a new order each, and examples that fill no batch are
    left out, others in each epoch. So a small task may be seen many times while a
    large one is seen once.

    Order depends on seed and step only: `start_step=k` gives exactly the batches that
    an uninterrupted run sees from step `k` on.

    Args:
        sources: By task, a finite `tf.data.Dataset` of single training examples, such
            as `(inputs, label)`, which is shuffled anew in each epoch; or a function
            `(batch_size, start_step) -> endless dataset of batches`, such as
            `functools.partial(kmmft.data.build_dataset, "data/vqa", split="train",
            training=True, batch_preprocess=model.tasks["vqa"].prepare_batch)`.
        batch_size: Examples in a batch, of all tasks and over all replicas together.
            With `"round_robin"`, of each task.
        sampling: `"size"`, tasks in proportion to their sizes; `"temperature"`, to
            `size ** (1 / temperature)`, which favours small tasks; numbers by task,
            in proportion to these; or `"round_robin"`, a whole batch of each task, to
            be trained one after the other by `MultiTask(..., in_turns=True)`.
        temperature: From 1 (as `"size"`) to infinity (all tasks alike).
        sizes: Numbers of examples by task, where a source cannot tell its own.
        multiple_of: Each task's part of a batch is a multiple: the number of replicas.
        seed: Any int. For the shuffling of datasets; a function has its own.
        start_step: Batches to leave out at the start, for a resumed run.
        shuffle_buffer: Examples of a dataset that are held to draw from.

    Returns:
        Endless `tf.data.Dataset` of dicts: by task, a batch such as `(inputs, label)`.

    Raises:
        ValueError: If there is no task, `sampling` is unknown or names other tasks, a
            needed size is missing, a task has too few examples, or the batch is too
            small for the tasks.

    Example:
        >>> examples = tf.data.Dataset.range
        >>> data = kmmft.data.mix_tasks(
        ...     {"questions": examples(60), "tags": examples(20)}, batch_size=4
        ... )
        >>> {task: len(batch) for task, batch in next(iter(data)).items()}
        {'questions': 3, 'tags': 1}

    References:
        - [Raffel et al., 2019](https://arxiv.org/abs/1910.10683), section 3.5.2
          (examples-proportional and temperature-scaled mixing).
    """
    _check(sources, start_step, seed)
    known = _sizes(sources, sizes or {})
    if sampling == "round_robin":
        counts = task_batch_sizes(
            dict.fromkeys(sources, 1.0),
            batch_size * len(sources),
            multiple_of=multiple_of,
        )
    else:
        shares = _shares(sources, sampling, known, temperature)
        counts = task_batch_sizes(shares, batch_size, multiple_of=multiple_of)
    parts = {}
    for number, (task, source) in enumerate(sources.items()):
        count = counts[task]
        if isinstance(source, tf.data.Dataset):
            steps = _steps(task, known.get(task, 0), count)
            parts[task] = _epochs(
                source, steps, count, (seed, number), start_step, shuffle_buffer
            )
        else:
            parts[task] = source(batch_size=count, start_step=start_step)
    return tf.data.Dataset.zip(parts).prefetch(2).with_options(training_options())


def task_batch_sizes(
    shares: Mapping[str, float], batch_size: int, *, multiple_of: int = 1
) -> dict[str, int]:
    """Shares a batch among tasks, in whole examples.

    By largest remainder, but every task has a part. The parts add up to the batch.

    Args:
        shares: Positive numbers by task; their sum does not matter.
        batch_size: Examples of all tasks together.
        multiple_of: Each part is a multiple of it.

    Returns:
        Numbers of examples by task.

    Raises:
        ValueError: If a share is not positive, or the batch has no part for each.

    Example:
        >>> kmmft.data.task_batch_sizes({"a": 0.9, "b": 0.09, "c": 0.01}, 16)
        {'a': 14, 'b': 1, 'c': 1}
    """
    wrong = {task: share for task, share in shares.items() if not share > 0}
    if wrong:
        raise ValueError(f"A task's share must be positive. Received: {wrong}.")
    units, rest = divmod(batch_size, multiple_of)
    if rest or units < len(shares):
        raise ValueError(
            "`batch_size` must be a multiple of `multiple_of`, and that for each task. "
            f"Received: batch_size={batch_size}, multiple_of={multiple_of} for "
            f"{len(shares)} tasks. Pass {multiple_of * len(shares)} or more."
        )
    total = sum(shares.values())
    exact = {task: units * share / total for task, share in shares.items()}
    counts = {task: max(int(share), 1) for task, share in exact.items()}
    while (missing := units - sum(counts.values())) != 0:
        change = 1 if missing > 0 else -1
        able = [task for task in counts if counts[task] + change >= 1]
        furthest = max(able, key=lambda task: change * (exact[task] - counts[task]))
        counts[furthest] += change
    return {task: count * multiple_of for task, count in counts.items()}


def _epochs(
    examples: tf.data.Dataset,
    steps: int,
    count: int,
    seed: tuple[int, int],
    start_step: int,
    shuffle_buffer: int,
) -> tf.data.Dataset:
    """Batches of one task for ever, in an order that depends on seed and epoch."""

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        # `shuffle` mixes the global seed into its own; see `shuffled_epochs`.
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


def _sizes(sources: Mapping[str, Source], given: Mapping[str, int]) -> dict[str, int]:
    """Numbers of examples, of those tasks where they are known."""
    known = {}
    for task, source in sources.items():
        if task in given:
            known[task] = given[task]
        elif isinstance(source, tf.data.Dataset):
            size = int(source.cardinality())
            if size < 0:
                raise ValueError(
                    "A dataset must be finite and know its size, or have it in "
                    f"`sizes`. Received: {task!r} with {source}. Pass its size, and no "
                    "repeated dataset."
                )
            known[task] = size
    return known


def _shares(
    sources: Mapping[str, Source],
    sampling: str | Mapping[str, float],
    sizes: Mapping[str, int],
    temperature: float,
) -> dict[str, float]:
    if isinstance(sampling, Mapping):
        if set(sampling) != set(sources):
            raise ValueError(
                f"`sampling` must have a number for each of {list(sources)}. "
                f"Received: {dict(sampling)}."
            )
        return {task: float(sampling[task]) for task in sources}
    if sampling not in SAMPLING:
        raise ValueError(
            f"`sampling` must be one of {SAMPLING} or numbers by task. "
            f"Received: sampling={sampling!r}."
        )
    missing = [task for task in sources if task not in sizes]
    if missing:
        raise ValueError(
            f"sampling={sampling!r} needs the number of examples of each task. "
            f"Received: none for {missing}. Pass them in `sizes`."
        )
    if not temperature >= 1:
        raise ValueError(
            f"`temperature` must be at least 1. Received: temperature={temperature}."
        )
    power = 1 / temperature if sampling == "temperature" else 1.0
    return {task: float(sizes[task]) ** power for task in sources}


def _steps(task: str, size: int, count: int) -> int:
    if size < count:
        raise ValueError(
            "A task must have an example for each place in its part of a batch. "
            f"Received: {size} examples of {task!r} for {count} places. Lower "
            "`batch_size` or the task's share."
        )
    return size // count


def _check(sources: Mapping[str, Source], start_step: int, seed: int) -> None:
    if not sources:
        raise ValueError("A mixture needs a task. Received: none.")
    wrong = [
        task
        for task, source in sources.items()
        if not isinstance(source, tf.data.Dataset) and not callable(source)
    ]
    if wrong:
        raise ValueError(
            "Each task needs a tf.data.Dataset, or a function of batch_size and "
            f"start_step that makes one. Received: neither for {wrong}."
        )
    if start_step < 0 or not isinstance(seed, int):
        raise ValueError(
            "`start_step` must not be negative, and `seed` must be an int. "
            f"Received: start_step={start_step}, seed={seed!r}."
        )
