"""BitFit: biases only."""

import dataclasses

import keras

from kmmft.finetuning.adapters.adapter import Adapter


@dataclasses.dataclass(frozen=True)
class BitFit(Adapter):
    """Trains the biases of layers, those of normalisations too, and nothing else.

    Adds no weights. There is nothing to merge.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> layers = kmmft.finetuning.named_layers(model)
        >>> weights = kmmft.finetuning.BitFit().insert(model, layers)
        >>> [weight.name for weight in weights]
        ['bias']

    References:
        - [Ben Zaken et al., 2022](https://arxiv.org/abs/2106.10199), section 3.
    """

    def change(self, all_layers: dict, layers: dict) -> list[keras.Variable]:
        biases = [
            variable
            for layer in layers.values()
            for variable in layer._trainable_variables
            if variable.name in ("bias", "beta")
        ]
        if not biases:
            raise ValueError(
                "BitFit needs layers with biases. Received: none among "
                f"{list(layers)[:5]}. Let the rule match others, or use LoRA."
            )
        return biases
