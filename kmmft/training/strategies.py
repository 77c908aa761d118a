"""Where a model computes."""

import functools

import tensorflow as tf

STRATEGIES = ("auto", "one_device", "mirrored")


@functools.cache
def make_strategy(name: str = "auto") -> tf.distribute.Strategy:
    """Makes the `tf.distribute` strategy under which a model is built.

    Call it before anything else runs on the devices. Asked again, it gives the same
    strategy, since a process must not have two mirrored ones.

    Args:
        name: `"one_device"`; `"mirrored"`, all GPUs (or logical CPUs) of this host;
            `"auto"`, `mirrored` where there are several GPUs and `one_device`
            elsewhere.

    Returns:
        A `tf.distribute.Strategy`; enter its `scope()` to build and compile.

    Raises:
        ValueError: If the name is unknown.

    Example:
        >>> with kmmft.training.make_strategy("one_device").scope():
        ...     model = keras.Sequential([keras.layers.Dense(1)])
    """
    check_strategy(name)
    if name == "auto":
        several = len(tf.config.list_logical_devices("GPU")) > 1
        return make_strategy("mirrored" if several else "one_device")
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def check_strategy(name: str) -> None:
    """Raises a ValueError unless there is a strategy of this name."""
    if name not in STRATEGIES:
        raise ValueError(
            f"`strategy` must be one of {STRATEGIES}. Received: strategy={name!r}."
        )
