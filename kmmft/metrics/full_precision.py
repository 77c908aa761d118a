"""Matrix products in all of float32's digits."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Turns TensorFloat-32 off for as long as it is open, and then as it was.

    GPUs round the factors of a float32 product to 10 bits unless told otherwise: too
    few to tell which of two near candidates is the nearer one.

    Example:
        >>> with kmmft.metrics.full_precision():
        ...     product = tf.matmul([[1.0]], [[2.0]])
    """
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
