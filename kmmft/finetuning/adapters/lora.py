"""LoRA: changes of low rank to frozen kernels."""

import dataclasses

import keras

from kmmft.finetuning.adapters.adapted_layer import adapt
from kmmft.finetuning.adapters.adapter import Adapter, check_positive, choose
from kmmft.finetuning.adapters.kernel_matrix import CONVOLUTIONS, DENSES
from kmmft.finetuning.adapters.low_rank import low_rank_mixin


@dataclasses.dataclass(frozen=True)
class LoRA(Adapter):
    """Learns `alpha / rank * A B` beside each frozen kernel, read as a matrix.

    For `Dense`, `EinsumDense` (the projections of attention: all heads are one
    matrix), convolutions, depthwise ones too, and `Embedding`. B starts at zero (A,
    for embeddings), so that the model starts as it was. A and B are float32; they
    start as in the authors' code. Nothing is left of it after `merge_adapters`.

    Args:
        rank: Width of A and height of B.
        alpha: The change is multiplied by `alpha / rank`.
        targets: Pattern, or patterns, over paths of layers: which of the rule's layers
            get one. `("*/query*", "*/value*")` is the paper's choice.
        dropout_rate: Dropout of what goes into A. Of dense layers only: convolutions
            and embeddings have none.

    Raises:
        ValueError: If `rank` or `alpha` is not positive, or `dropout_rate` is not in
            [0, 1).

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> layers = kmmft.finetuning.named_layers(model)
        >>> weights = kmmft.finetuning.LoRA(rank=2).insert(model, layers)
        >>> [(weight.name, tuple(weight.shape)) for weight in weights]
        [('lora_a', (4, 2)), ('lora_b', (2, 3))]

    References:
        - [Hu et al., 2021](https://arxiv.org/abs/2106.09685), eq. 3.
    """

    rank: int = 8
    alpha: float = 16.0
    targets: str | tuple[str, ...] = "*"
    dropout_rate: float = 0.0

    def __post_init__(self):
        check_positive(rank=self.rank, alpha=self.alpha)
        if not 0 <= self.dropout_rate < 1:
            raise ValueError(
                "`dropout_rate` must be in [0, 1). "
                f"Received: dropout_rate={self.dropout_rate}."
            )

    def change(self, all_layers: dict, layers: dict) -> list[keras.Variable]:
        kinds = (*DENSES, *CONVOLUTIONS, keras.layers.Embedding)
        with_kernels = {k: v for k, v in layers.items() if isinstance(v, kinds)}
        chosen = choose(with_kernels, self.targets, "dense, conv or embedding layers")
        weights = []
        for layer in chosen.values():
            weights += adapt(layer, low_rank_mixin(layer), self)
        return weights
