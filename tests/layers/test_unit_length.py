import numpy as np
import tensorflow as tf

import kmmft


def test_length_is_one_in_any_precision_and_scale():
    for dtype, scale in (("float32", 1e-6), ("float32", 1e6), ("mixed_float16", 1e3)):
        layer = kmmft.layers.UnitLength(dtype=dtype)
        outputs = layer(np.array([[3.0, 4.0]]) * scale)
        np.testing.assert_allclose(outputs, [[0.6, 0.8]], rtol=1e-3)
        assert outputs.dtype == layer.compute_dtype


def test_gradient_equals_the_formula():
    x = tf.constant([[3.0, 4.0]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = kmmft.layers.UnitLength()(x)[0, 0]
    # (I - u u^T) / |x| for u = (0.6, 0.8)
    np.testing.assert_allclose(tape.gradient(y, x), [[0.128, -0.096]], atol=1e-6)


def test_zero_vector_passes_no_gradient():
    x = tf.zeros((2, 3))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(kmmft.layers.UnitLength()(x))
    np.testing.assert_array_equal(tape.gradient(y, x), np.zeros((2, 3)))
