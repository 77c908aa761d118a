"""Vectors divided by their length."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("kmmft")
class UnitLength(keras.layers.Layer):
    """Divides vectors by their L2 norm, so that products of them are cosines.

    The norm is computed in float32 under every dtype policy, since squares of float16
    values above 255 overflow. A vector shorter than 1e-12 becomes zero and passes no
    gradient back; with `keras.layers.UnitNormalization` its gradient is a huge number
    that ruins the weights.

    Call arguments:
        inputs: float tensor `(..., dim)`.

    Returns:
        float tensor `(..., dim)` of the layer's compute dtype.

    Example:
        >>> kmmft.layers.UnitLength()(np.array([[3.0, 4.0], [0.0, 0.0]])).numpy()
        array([[0.6, 0.8],
               [0. , 0. ]], dtype=float32)
    """

    def call(self, inputs):
        x = ops.cast(inputs, "float32")
        squares = ops.sum(ops.square(x), axis=-1, keepdims=True)
        is_long = squares > 1e-24
        # The inner `where` keeps the gradient of the branch not taken finite.
        scale = ops.rsqrt(ops.where(is_long, squares, 1.0))
        return ops.cast(ops.where(is_long, x * scale, 0.0), self.compute_dtype)

    def compute_output_shape(self, inputs_shape) -> tuple:
        return inputs_shape
