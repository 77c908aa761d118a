"""How long a signature takes to answer."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

_LONGEST_SECONDS = 10.0


def measure_latency(
    function: Callable[..., Mapping[str, tf.Tensor]],
    inputs: Mapping[str, tf.Tensor],
    batch_sizes: Sequence[int] = (1, 8, 32),
    seconds: float = 0.2,
) -> dict[int, float]:
    """Times a signature in this process, from raw bytes to answers.

    Args:
        function: The traced signature, or what answers as one, also in arrays.
        inputs: A few rows of each input; they are repeated.
        batch_sizes: Numbers of rows.
        seconds: How long each batch size is repeated, at least three times. Sizes that
            would take longer than ten seconds a time are left out.

    Returns:
        Median milliseconds by batch size.
    """
    milliseconds = {}
    for size in batch_sizes:
        known = max((x / n for n, x in milliseconds.items()), default=0.0)
        if known * size > 1000 * _LONGEST_SECONDS:
            break
        batch = {key: _repeat(value, size) for key, value in inputs.items()}
        function(**batch)  # takes memory and optimises the graph
        milliseconds[size] = 1000 * _median_seconds(function, batch, seconds)
    return milliseconds


def _repeat(value: tf.Tensor, size: int) -> tf.Tensor:
    return tf.gather(value, tf.range(size) % len(value))


def _median_seconds(function, batch: Mapping[str, tf.Tensor], seconds: float) -> float:
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        tf.nest.map_structure(np.asarray, function(**batch))
        times.append(time.perf_counter() - start)
    return statistics.median(times)
