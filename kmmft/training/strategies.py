"""Where a model computes."""

import functools
import json
import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from kmmft.training.collectives import all_gather

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker")


@functools.cache
def make_strategy(name: str = "auto") -> tf.distribute.Strategy:
    """Makes the `tf.distribute` strategy under which a model is built.

    Call it before anything else runs on the devices. Asked again, it gives the same
    strategy, since a process must not have two mirrored ones.

    Args:
        name: `"one_device"`; `"mirrored"`, all GPUs (or logical CPUs) of this host;
            `"multi_worker"`, those of all hosts that TF_CONFIG names, where the same
            program runs; `"auto"`, `mirrored` where there are several GPUs and
            `one_device` elsewhere.

    Returns:
        A `tf.distribute.Strategy`; enter its `scope()` to build and compile.

    Raises:
        ValueError: If the name is unknown, or TF_CONFIG names no workers.

    Example:
        >>> with kmmft.training.make_strategy("one_device").scope():
        ...     model = keras.Sequential([keras.layers.Dense(1)])

    References:
        - [TF_CONFIG](https://www.tensorflow.org/guide/distributed_training#setting_up_the_tf_config_environment_variable)
    """
    check_strategy(name)
    if name == "auto":
        several = len(tf.config.list_logical_devices("GPU")) > 1
        return make_strategy("mirrored" if several else "one_device")
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if name == "multi_worker":
        worker_number()
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()


def check_strategy(name: str) -> None:
    """Raises a ValueError unless there is a strategy of this name."""
    if name not in STRATEGIES:
        raise ValueError(
            f"`strategy` must be one of {STRATEGIES}. Received: strategy={name!r}."
        )


def worker_number() -> int:
    """This process' number among the workers of TF_CONFIG, from 0.

    Raises:
        ValueError: If TF_CONFIG does not name the workers, and which one this is.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        # A cluster may call its first worker the chief.
        tasks = [
            (job, index)
            for job in ("chief", "worker")
            for index in range(len(config["cluster"].get(job, [])))
        ]
        return tasks.index((config["task"]["type"], config["task"]["index"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            "The strategy multi_worker needs the environment variable TF_CONFIG. "
            f"Received: TF_CONFIG={text!r}. Set it on each host to the same cluster "
            'and its own index, such as {"cluster": {"worker": ["host0:12345", '
            '"host1:12345"]}, "task": {"type": "worker", "index": 0}}.'
        ) from error


def has_several_workers(strategy: tf.distribute.Strategy) -> bool:
    """Whether several processes train the model together."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def gather_rows(strategy: tf.distribute.Strategy, row: Sequence) -> np.ndarray:
    """Numbers of all workers; each of them must call it, outside of replicas.

    Args:
        strategy: The workers' strategy.
        row: This worker's numbers, as many and of the same type as the others have.

    Returns:
        array `(replicas, len(row))`: the row of each replica's worker, in their order.
    """
    gathered = _gathering(strategy)(tf.constant([row]))
    return strategy.experimental_local_results(gathered)[0].numpy()


@functools.cache
def _gathering(strategy: tf.distribute.Strategy) -> Callable:
    # Traced once, and not at every epoch. The copy is there so that the tensor has a
    # device, which the collective asks for.
    return tf.function(lambda row: strategy.run(lambda: all_gather(tf.identity(row))))
