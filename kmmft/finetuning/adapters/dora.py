"""DoRA: LoRA for the direction of a kernel's columns, and learned lengths."""

import dataclasses

import keras
from keras import ops

from kmmft.finetuning.adapters.adapted_layer import adapt
from kmmft.finetuning.adapters.adapter import Adapter, check_positive, choose
from kmmft.finetuning.adapters.kernel_matrix import (
    CONVOLUTIONS,
    DENSES,
    base_kernel,
    kernel_matrix,
)
from kmmft.finetuning.adapters.low_rank import LowRankKernel


@dataclasses.dataclass(frozen=True)
class DoRA(Adapter):
    """Learns each kernel column's length, and LoRA's change of its direction.

    `W' = magnitude * V / |V|` with `V = W + alpha / rank * A B`, the norm taken column
    by column: one for each output feature. For dense layers and convolutions. The
    whole kernel is computed in each step, in float32, so that a step takes longer
    than LoRA's. Nothing is left of it after `merge_adapters`.

    Args:
        rank: As for `LoRA`.
        alpha: As for `LoRA`.
        targets: As for `LoRA`.
        detach_norm: Whether `|V|` counts as a constant in the gradient: less memory at
            no loss, the paper finds.

    Raises:
        ValueError: If `rank` or `alpha` is not positive.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> layers = kmmft.finetuning.named_layers(model)
        >>> weights = kmmft.finetuning.DoRA(rank=2).insert(model, layers)
        >>> [(weight.name, tuple(weight.shape)) for weight in weights]
        [('lora_a', (4, 2)), ('lora_b', (2, 3)), ('magnitude', (3,))]

    References:
        - [Liu et al., 2024](https://arxiv.org/abs/2402.09353), eq. 5, and section 4.3
          for `detach_norm`.
    """

    rank: int = 8
    alpha: float = 16.0
    targets: str | tuple[str, ...] = "*"
    detach_norm: bool = True

    def __post_init__(self):
        check_positive(rank=self.rank, alpha=self.alpha)

    def change(self, all_layers: dict, layers: dict) -> list[keras.Variable]:
        kinds = (*DENSES, *CONVOLUTIONS)
        with_kernels = {k: v for k, v in layers.items() if isinstance(v, kinds)}
        chosen = choose(with_kernels, self.targets, "dense or convolution layers")
        weights = []
        for layer in chosen.values():
            weights += adapt(layer, DirectedKernel, self)
        return weights


class DirectedKernel(LowRankKernel):
    """A layer whose kernel has learned lengths and directions of columns."""

    def build_adapter(self) -> None:
        super().build_adapter()
        self.add_adapter_weight(
            "magnitude", (kernel_matrix(self).columns,), "ones", autocast=False
        )
        self._measure()

    def adapted_matrix(self, base):
        direction = super().adapted_matrix(base)
        norm = _column_norms(direction)
        if self.adapter.detach_norm:
            norm = ops.stop_gradient(norm)
        return direction * (self.magnitude / norm)

    def reset_adapter(self) -> None:
        super().reset_adapter()
        self._measure()

    def _measure(self) -> None:
        base = ops.cast(base_kernel(self), "float32")
        self.magnitude.assign(_column_norms(kernel_matrix(self).to_matrix(base)))


def _column_norms(matrix):
    # A column of zeros, as of a fresh layer, has no direction and no gradient.
    return ops.sqrt(ops.maximum(ops.sum(ops.square(matrix), axis=0), 1e-24))
