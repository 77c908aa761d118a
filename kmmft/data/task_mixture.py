"""Batches of several tasks together, as `kmmft.models.MultiTask` takes them."""

from collections.abc import Mapping

import tensorflow as tf

from kmmft.data.dataset import training_options
from kmmft.data.mixture_sources import (
    Source,
    check_sources,
    sampling_shares,
    shuffled_batches,
    source_sizes,
    source_steps,
)

SAMPLING = ("size", "temperature", "round_robin")


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
    check_sources(sources, start_step, seed)
    known = source_sizes(sources, sizes or {})
    if sampling == "round_robin":
        counts = task_batch_sizes(
            dict.fromkeys(sources, 1.0),
            batch_size * len(sources),
            multiple_of=multiple_of,
        )
    else:
        shares = sampling_shares(sources, sampling, known, temperature, SAMPLING)
        counts = task_batch_sizes(shares, batch_size, multiple_of=multiple_of)
    parts = {}
    for number, (task, source) in enumerate(sources.items()):
        count = counts[task]
        if isinstance(source, tf.data.Dataset):
            steps = source_steps(task, known.get(task, 0), count)
            parts[task] = shuffled_batches(
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
