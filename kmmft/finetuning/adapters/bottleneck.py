"""Bottleneck adapters after or beside attentions and feed-forwards."""

import dataclasses
import threading

import keras
from keras import ops

from kmmft.finetuning.adapters.adapted_layer import AdaptedLayer, adapt
from kmmft.finetuning.adapters.adapter import Adapter, check_positive, choose
from kmmft.finetuning.adapters.kernel_matrix import kernel_matrix
from kmmft.finetuning.adapters.transformer_parts import attentions, feed_forwards

MODES = ("houlsby", "parallel")


@dataclasses.dataclass(frozen=True)
class Bottleneck(Adapter):
    """Learns a small network at each attention and feed-forward of transformer blocks.

    `scale * (activation(h D + d) U + u)` is added to what the attention or feed-forward
    gives, before dropout, residual and norm. U and u start at zero, so that the model
    starts as it was. Cannot be merged.

    Args:
        dim: Width of the network's hidden layer.
        mode: What `h` is: `"houlsby"`, the attention's or feed-forward's output;
            `"parallel"`, its input.
        activation: Name of a Keras activation.
        scale: Factor on the network's output. He et al. use 4 for `"parallel"`.
        targets: Pattern, or patterns, over paths of attentions and of the second
            layers of feed-forwards. `"*"` is all.

    Raises:
        ValueError: If `dim` or `scale` is not positive, or `mode` or `activation` is
            unknown.

    Example:
        >>> backbone = keras_hub.models.ViTBackbone((32, 32, 3), 16, 1, 2, 8, 16)
        >>> layers = kmmft.finetuning.named_layers(backbone)
        >>> adapter = kmmft.finetuning.Bottleneck(dim=2, targets="*/mlp/*")
        >>> [(w.name, tuple(w.shape)) for w in adapter.insert(backbone, layers)]
        [('down_kernel', (8, 2)), ('down_bias', (2,)),
         ('up_kernel', (2, 8)), ('up_bias', (8,))]

    References:
        - [Houlsby et al., 2019](https://arxiv.org/abs/1902.00751), figure 2.
        - [He et al., 2022](https://arxiv.org/abs/2110.04366), table 1, parallel
          adapter.
    """

    dim: int = 64
    mode: str = "houlsby"
    activation: str = "gelu"
    scale: float = 1.0
    targets: str | tuple[str, ...] = "*"

    def __post_init__(self):
        check_positive(dim=self.dim, scale=self.scale)
        if self.mode not in MODES:
            raise ValueError(
                f"`mode` must be one of {MODES}. Received: mode={self.mode!r}."
            )
        keras.activations.get(self.activation)  # raises if there is none

    def change(self, all_layers: dict, layers: dict) -> list[keras.Variable]:
        fed = feed_forwards(all_layers, layers, self.targets)
        places = attentions(all_layers, layers)
        places |= {path: second for path, (_, second) in fed.items()}
        chosen = choose(places, self.targets, "attentions or feed-forwards")
        weights = []
        for path, layer in chosen.items():
            after = self.mode == "houlsby"
            if path not in fed:
                weights += adapt(layer, AfterLayer if after else BesideLayer, self)
            elif after:
                weights += adapt(layer, AfterLayer, self)
            else:
                weights += _adapt_beside(*fed[path], self)
        return weights


class WithBottleneck(AdaptedLayer):
    """An attention, or a feed-forward's second layer, with a small network."""

    mergeable = False

    def build_adapter(self) -> None:
        # A feed-forward is as wide at its input as at its output.
        width = kernel_matrix(getattr(self, "output_dense", self)).columns
        dim = self.adapter.dim
        self.add_adapter_weight("down_kernel", (width, dim), "glorot_uniform")
        self.add_adapter_weight("down_bias", (dim,), "zeros")
        self.add_adapter_weight("up_kernel", (dim, width), "zeros")
        self.add_adapter_weight("up_bias", (width,), "zeros")

    def reset_adapter(self) -> None:
        for weight in (self.up_kernel, self.up_bias):
            weight.assign(ops.zeros_like(weight))

    def change(self, h):
        h = ops.add(ops.matmul(h, self.down_kernel), self.down_bias)
        h = keras.activations.get(self.adapter.activation)(h)
        h = ops.add(ops.matmul(h, self.up_kernel), self.up_bias)
        return self.adapter.scale * h


class AfterLayer(WithBottleneck):
    def call(self, *args, **kwargs):
        outputs = super().call(*args, **kwargs)
        if isinstance(outputs, tuple):  # an attention's scores come after its output
            return outputs[0] + self.change(outputs[0]), *outputs[1:]
        return outputs + self.change(outputs)


class BesideLayer(WithBottleneck):
    def call(self, query, *args, **kwargs):
        outputs = super().call(query, *args, **kwargs)
        if isinstance(outputs, tuple):
            return outputs[0] + self.change(query), *outputs[1:]
        return outputs + self.change(query)


class FirstOfFeedForward(AdaptedLayer):
    """Keeps what goes into a feed-forward, for the bottleneck beside it."""

    mergeable = False

    def build_adapter(self) -> None:
        # Replicas run in threads of their own.
        self.seen = threading.local()

    def reset_adapter(self) -> None:
        pass

    def call(self, inputs, training=None):
        self.seen.inputs = inputs
        return super().call(inputs, training=training)


class SecondOfFeedForward(WithBottleneck):
    def call(self, inputs, training=None):
        outputs = super().call(inputs, training=training)
        return outputs + self.change(self.seen.inputs)


def _adapt_beside(first, second, adapter) -> list[keras.Variable]:
    adapt(first, FirstOfFeedForward, adapter)
    weights = adapt(second, SecondOfFeedForward, adapter)
    second.seen = first.seen
    return weights
