"""Kernels with a change of low rank: what LoRA and DoRA share."""

import functools

import keras
from keras import ops

from kmmft.finetuning.adapters.adapted_layer import AdaptedLayer
from kmmft.finetuning.adapters.kernel_matrix import (
    base_kernel,
    einsum_letters,
    kernel_matrix,
)

# `kaiming_uniform_(a=sqrt(5))` of the authors' code: rates carry over.
_START_OF_A = functools.partial(
    keras.initializers.VarianceScaling, 1 / 3, "fan_in", "uniform"
)


class LowRank(AdaptedLayer):
    """A layer whose kernel, as a matrix, is `base + alpha / rank * A B`."""

    # What is computed from the whole kernel is computed in float32.
    autocast_weights = False

    def build_adapter(self) -> None:
        matrix, rank = kernel_matrix(self), self.adapter.rank
        start_of_a, start_of_b = self.low_rank_start()
        self.add_adapter_weight(
            "lora_a", (matrix.rows, rank), start_of_a, self.autocast_weights
        )
        self.add_adapter_weight(
            "lora_b", (rank, matrix.columns), start_of_b, self.autocast_weights
        )

    def low_rank_start(self):
        return _START_OF_A(), "zeros"

    @property
    def adapter_scale(self) -> float:
        return self.adapter.alpha / self.adapter.rank

    def adapted_matrix(self, base):
        """The kernel's matrix, given the base's, both float32."""
        return base + self.adapter_scale * ops.matmul(self.lora_a, self.lora_b)

    def adapted_kernel(self):
        base = ops.convert_to_tensor(base_kernel(self))
        view = kernel_matrix(self)
        matrix = self.adapted_matrix(view.to_matrix(ops.cast(base, "float32")))
        return ops.cast(view.to_kernel(matrix), base.dtype)

    def merged_values(self):
        kernel = ops.convert_to_numpy(self.adapted_kernel())
        return [(base_kernel(self), kernel)]

    def reset_adapter(self) -> None:
        _, start_of_b = self.low_rank_start()
        # Only the one that starts at zero need be zero.
        weight = self.lora_b if start_of_b == "zeros" else self.lora_a
        weight.assign(ops.zeros_like(weight))


class LowRankKernel(LowRank):
    """For any layer that reads its `kernel`: that is the changed one."""

    @property
    def kernel(self):
        return self.adapted_kernel()


class LowRankEmbedding(LowRank):
    """For embeddings. A starts at zero, so that tokens never seen never change."""

    @property
    def embeddings(self):
        return self.adapted_kernel()

    def low_rank_start(self):
        return "zeros", keras.initializers.RandomNormal(stddev=1.0)


class LowRankBranch(LowRank):
    """For dense layers: `x W + alpha / rank * (dropout(x) A) B`, without `A B`.

    No gradient of the kernel's shape is computed, which saves time and memory.
    """

    autocast_weights = True

    def build_adapter(self) -> None:
        super().build_adapter()
        if self.adapter.dropout_rate:
            self.lora_dropout = keras.layers.Dropout(
                self.adapter.dropout_rate, dtype=self.dtype_policy, name="lora_dropout"
            )
            self.adapter_names = (*self.adapter_names, "lora_dropout")

    def call(self, inputs, training=None):
        x = inputs
        if self.adapter.dropout_rate:
            x = self.lora_dropout(x, training=training)
        change = self.low_rank_outputs(x)
        outputs = ops.add(self.base_outputs(inputs), self.adapter_scale * change)
        if self.bias is not None:
            outputs = ops.add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)


class LowRankDense(LowRankBranch):
    def base_outputs(self, inputs):
        return ops.matmul(inputs, self.kernel)

    def low_rank_outputs(self, inputs):
        return ops.matmul(ops.matmul(inputs, self.lora_a), self.lora_b)


class LowRankEinsumDense(LowRankBranch):
    def base_outputs(self, inputs):
        return ops.einsum(self.equation, inputs, self.kernel)

    def low_rank_outputs(self, inputs):
        kernel, letters, new = einsum_letters(self.equation)
        view = kernel_matrix(self)
        shape = view.shape
        a = ops.reshape(self.lora_a, [*(shape[axis] for axis in view.inputs), -1])
        b = ops.reshape(self.lora_b, [-1, *(shape[axis] for axis in view.outputs)])
        summed = "".join(kernel[axis] for axis in view.inputs)
        kept = "".join(letter for letter in letters if letter not in summed)
        output = self.equation.replace(" ", "").partition("->")[2]
        # Capital letters: Keras' own equations have small ones.
        low = ops.einsum(f"{letters},{summed}R->{kept}R", inputs, a)
        return ops.einsum(f"{kept}R,R{new}->{output}", low, b)


def low_rank_mixin(layer: keras.layers.Layer) -> type[LowRank]:
    """What LoRA makes of a layer. The branch is for the calls that are known."""
    call = type(layer).call
    if isinstance(layer, keras.layers.Embedding):
        return LowRankEmbedding
    if call is keras.layers.Dense.call:
        return LowRankDense
    if call is keras.layers.EinsumDense.call and not _shares_letters(layer.equation):
        return LowRankEinsumDense
    return LowRankKernel


def _shares_letters(equation: str) -> bool:
    """Whether a kernel's axis is in input and output both: as many kernels as rows."""
    kernel, inputs, _ = einsum_letters(equation)
    output = equation.partition("->")[2]
    return any(x in inputs and x in output for x in kernel)
