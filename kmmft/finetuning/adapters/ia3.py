"""IA3: learned factors on keys, values and the feed-forward's hidden features."""

import dataclasses

import keras
from keras import ops

from kmmft.finetuning.adapters.adapted_layer import AdaptedLayer, adapt
from kmmft.finetuning.adapters.adapter import Adapter, choose
from kmmft.finetuning.adapters.kernel_matrix import base_kernel, kernel_matrix
from kmmft.finetuning.adapters.transformer_parts import attentions, feed_forwards


@dataclasses.dataclass(frozen=True)
class IA3(Adapter):
    """Learns one factor for each key, value and hidden feature of transformer blocks.

    Factors start at one, so that the model starts as it was. Nothing is left of them
    after `merge_adapters`.

    Args:
        targets: Pattern, or patterns, over paths of the layers that get factors: the
            projections of keys and values, and the feed-forwards' second layers.

    Example:
        >>> backbone = keras_hub.models.ViTBackbone((32, 32, 3), 16, 1, 2, 8, 16)
        >>> layers = kmmft.finetuning.named_layers(backbone)
        >>> weights = kmmft.finetuning.IA3().insert(backbone, layers)
        >>> [tuple(weight.shape) for weight in weights]
        [(8,), (8,), (16,)]

    References:
        - [Liu et al., 2022](https://arxiv.org/abs/2205.05638), section 3.3.
    """

    targets: str | tuple[str, ...] = "*"

    def change(self, all_layers: dict, layers: dict) -> list[keras.Variable]:
        scaled, mixins = {}, {}
        for path, layer in attentions(all_layers, layers).items():
            for part in (layer.key_dense, layer.value_dense):
                name = f"{path}/{part.name}"
                scaled[name], mixins[name] = part, ScaledOutputs
        for path, (_, last) in feed_forwards(all_layers, layers, self.targets).items():
            scaled[path], mixins[path] = last, ScaledInputs
        chosen = choose(scaled, self.targets, "keys, values or feed-forwards")
        weights = []
        for path, layer in chosen.items():
            weights += adapt(layer, mixins[path], self)
        return weights


class Scaled(AdaptedLayer):
    """A dense layer with learned factors."""

    def add_factors(self, count: int) -> None:
        self.add_adapter_weight("ia3", (count,), "ones")

    def reset_adapter(self) -> None:
        self.ia3.assign(ops.ones_like(self.ia3))


class ScaledOutputs(Scaled):
    """Factors on what comes out. Keys and values have no activation."""

    def build_adapter(self) -> None:
        self.add_factors(kernel_matrix(self).columns)

    def call(self, inputs, training=None):
        outputs = super().call(inputs, training=training)
        return outputs * ops.reshape(self.ia3, self._output_shape())

    def merged_values(self):
        factors = ops.cast(ops.reshape(self.ia3, self._output_shape()), self.dtype)
        own = [base_kernel(self)] + ([] if self.bias is None else [self.bias])
        return [(weight, ops.convert_to_numpy(weight * factors)) for weight in own]

    def _output_shape(self) -> list[int]:
        view = kernel_matrix(self)
        return [view.shape[axis] for axis in view.outputs]


class ScaledInputs(Scaled):
    """Factors on what goes in: the hidden features, after their activation."""

    def build_adapter(self) -> None:
        self.add_factors(kernel_matrix(self).rows)

    def call(self, inputs, training=None):
        return super().call(inputs * self.ia3, training=training)

    def merged_values(self):
        view, kernel = kernel_matrix(self), base_kernel(self)
        factors = ops.cast(self.ia3, self.dtype)
        matrix = view.to_matrix(ops.convert_to_tensor(kernel)) * factors[:, None]
        return [(kernel, ops.convert_to_numpy(view.to_kernel(matrix)))]
