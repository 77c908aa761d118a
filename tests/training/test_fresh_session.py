import keras
import numpy as np
import pytest

import kmmft


@pytest.fixture(autouse=True)
def float32_afterwards():
    yield
    keras.config.set_dtype_policy("float32")


def test_runs_are_alike_and_keep_their_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    keras.utils.clear_session()
    assert keras.config.dtype_policy().name == "float32"  # why this is needed
    layers = []
    for _ in range(2):
        kmmft.training.fresh_session(3, "mixed_bfloat16")
        layers.append(keras.layers.Dense(2))
        layers[-1].build((None, 3))
    one, other = layers
    assert one.compute_dtype == other.compute_dtype == "bfloat16"
    assert one.name == other.name == "dense"
    np.testing.assert_array_equal(one.kernel, other.kernel)
