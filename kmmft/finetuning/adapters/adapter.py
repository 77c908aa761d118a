"""What all adapters are: a configuration that can be put into a model."""

import fnmatch
from collections.abc import Sequence

import keras

from kmmft.finetuning.adapters.adapted_layer import check_can_adapt
from kmmft.finetuning.adapters.inserted_adapters import remember
from kmmft.finetuning.named_parts import named_layers
from kmmft.finetuning.near_names import near_names


class Adapter:
    """Base class of adapters. Subclasses are frozen dataclasses."""

    def insert(
        self, model: keras.Model, layers: dict[str, keras.layers.Layer]
    ) -> list[keras.Variable]:
        """Puts the adapter into layers of a model, in place.

        `Plan` does this for a rule with an adapter, and freezes all other weights of
        these layers. Compile the model afterwards.

        Args:
            model: Built model.
            layers: Layers of the model that the adapter may change, by path.

        Returns:
            The weights that are to be trained.

        Raises:
            ValueError: If there is nothing to adapt among the layers, or one of them
                cannot take the adapter. The model is unchanged then.
        """
        with model.distribute_strategy.scope():
            weights = self.change(named_layers(model), layers)
        remember(model, self, list(layers))
        return weights

    def change(self, all_layers: dict, layers: dict) -> list[keras.Variable]:
        """Changes the layers. Given all layers of the model, and those of the rule."""
        raise NotImplementedError


def choose(
    layers: dict[str, keras.layers.Layer],
    targets: str | Sequence[str],
    what: str,
) -> dict[str, keras.layers.Layer]:
    """Those layers whose path a pattern matches, checked to take an adapter.

    Raises:
        ValueError: If a pattern matches none of them, or a layer cannot take one.
    """
    chosen = set()
    for pattern in [targets] if isinstance(targets, str) else targets:
        matched = fnmatch.filter(layers, pattern)
        if not matched:
            near = near_names(pattern, layers)
            instead = f"Near are {near}." if near else "The rule has none of them."
            raise ValueError(
                f"`targets` must match paths of {what}. Received: {pattern!r}. "
                f"{instead}"
            )
        chosen.update(matched)
    found = {path: layer for path, layer in layers.items() if path in chosen}
    for path, layer in found.items():
        check_can_adapt(path, layer)
    return found


def check_positive(**numbers: float) -> None:
    """Raises a ValueError unless all numbers are above zero."""
    for name, value in numbers.items():
        if not value > 0:
            raise ValueError(f"`{name}` must be positive. Received: {name}={value}.")
