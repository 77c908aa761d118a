"""What every test shares: four logical CPUs, quiet TensorFlow, fixed seeds."""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import pytest
import tensorflow as tf

# Logical devices must be set before TensorFlow is first used, so for all tests.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration() for _ in range(4)],
)


def pytest_collection_finish():
    # Tracing makes many objects that stay: to look through them often is in vain.
    gc.set_threshold(20_000, 10, 10)
    set_aside_what_is_there()


@pytest.fixture(scope="module", autouse=True)
def small_heap():
    """Keeps garbage collections short, whatever earlier files of tests left behind."""
    yield
    set_aside_what_is_there()


def set_aside_what_is_there():
    """Spares later collections what stays, such as modules and TensorFlow's graphs.

    Of some hundred tests these are millions of objects, all of which each full
    collection would walk, for ten seconds and more.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def fixed_seed():
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="session")
def two_replicas():
    """One mirrored strategy a session: a second one would clash with the first."""
    return tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )


@pytest.fixture(scope="session")
def four_replicas():
    """May stand beside `two_replicas`, since both reduce on one device."""
    return tf.distribute.MirroredStrategy(
        [f"CPU:{number}" for number in range(4)],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )
