"""Kernels of any layer as matrices: inputs by outputs."""

import dataclasses
import math

import keras
from keras import ops

DENSES = (keras.layers.Dense, keras.layers.EinsumDense)
CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
)


@dataclasses.dataclass(frozen=True)
class KernelMatrix:
    """How a kernel is read as a matrix and written back.

    Attributes:
        shape: The kernel's shape.
        inputs: Its axes that are summed over.
        outputs: Its axes that the layer's output has.
    """

    shape: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def rows(self) -> int:
        return math.prod(self.shape[axis] for axis in self.inputs)

    @property
    def columns(self) -> int:
        return math.prod(self.shape[axis] for axis in self.outputs)

    def to_matrix(self, kernel):
        order = (*self.inputs, *self.outputs)
        return ops.reshape(ops.transpose(kernel, order), (self.rows, self.columns))

    def to_kernel(self, matrix):
        order = (*self.inputs, *self.outputs)
        ordered = ops.reshape(matrix, [self.shape[axis] for axis in order])
        return ops.transpose(ordered, [order.index(axis) for axis in range(len(order))])


def base_kernel(layer: keras.layers.Layer) -> keras.Variable:
    """The kernel, or table of embeddings, that the layer was made with."""
    # Past the properties, which adapters override.
    for name in ("_kernel", "kernel", "_embeddings"):
        if name in layer.__dict__:
            return layer.__dict__[name]
    raise ValueError(
        f"An adapter needs a layer with a kernel. Received: {layer.name!r}, a "
        f"{type(layer).__name__}. Choose others with `targets`."
    )


def kernel_matrix(layer: keras.layers.Layer) -> KernelMatrix:
    """The matrix of a layer's kernel: input features by output features.

    A convolution's window counts as input, a depthwise one's channels as outputs.
    """
    shape = tuple(base_kernel(layer).shape)
    axes = tuple(range(len(shape)))
    if isinstance(layer, keras.layers.EinsumDense):
        kernel, _, outputs = einsum_letters(layer.equation)
        inputs = tuple(i for i in axes if kernel[i] not in outputs)
        return KernelMatrix(shape, inputs, tuple(i for i in axes if i not in inputs))
    if isinstance(layer, keras.layers.DepthwiseConv1D | keras.layers.DepthwiseConv2D):
        return KernelMatrix(shape, axes[:-2], axes[-2:])
    return KernelMatrix(shape, axes[:-1], axes[-1:])


def einsum_letters(equation: str) -> tuple[str, str, str]:
    """Letters of an EinsumDense: of its kernel, of its input, new in its output.

    Example:
        >>> einsum_letters("abc,cde->abde")
        ('cde', 'abc', 'de')
    """
    operands, _, output = equation.replace(" ", "").partition("->")
    inputs, _, kernel = operands.partition(",")
    return kernel, inputs, "".join(x for x in output if x in kernel and x not in inputs)
