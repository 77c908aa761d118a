"""How an adapter gets into a layer and out of it: the layer's class is swapped."""

import dataclasses
import functools

import keras
import numpy as np
from keras.src.backend.common.variables import AutocastScope


class AdaptedLayer:
    """Mixin for the class of a layer that has an adapter.

    An adapter swaps the class of a built layer for a subclass of this and of the class
    that the layer had. So the layer stays where it is: in its model, in its blocks,
    with its weights and its name. The adapter's weights are weights of the layer.
    """

    mergeable = True
    # Whether some values of the adapter's weights leave the layer as it was.
    can_do_nothing = True

    def __call__(self, *args, **kwargs):
        # Keras casts weights under mixed policies alone: under bfloat16, where all
        # others are so already, the adapter's would make float32 of what they meet.
        with AutocastScope(self.compute_dtype):
            return super().__call__(*args, **kwargs)

    def build_adapter(self) -> None:
        """Adds the adapter's weights, so that the layer computes what it did."""
        raise NotImplementedError

    def merged_values(self) -> list[tuple[keras.Variable, np.ndarray]]:
        """The layer's own weights that the adapter changes, as it changes them."""
        raise NotImplementedError

    def reset_adapter(self) -> None:
        """Sets the adapter's weights to change nothing about the layer's own."""
        raise NotImplementedError

    def add_adapter_weight(self, name: str, shape, initializer, autocast=True):
        # float32 under any policy: updates are smaller than half precision tells.
        weight = self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            dtype="float32",
            autocast=autocast,
        )
        setattr(self, name, weight)
        self.adapter_names = (*self.adapter_names, name)

    def adapter_parts(self) -> dict[str, keras.Variable | keras.layers.Layer]:
        return {name: getattr(self, name) for name in self.adapter_names}

    def adapter_weights(self) -> list[keras.Variable]:
        parts = self.adapter_parts().values()
        return [part for part in parts if isinstance(part, keras.Variable)]

    def save_own_variables(self, store) -> None:
        # Layers with kernels would leave the adapter out, or merge it.
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store) -> None:
        keras.layers.Layer.load_own_variables(self, store)

    def get_config(self):
        raise not_saved_whole(self.name)


def not_saved_whole(name: str) -> ValueError:
    """What to raise where a model or layer with adapters would be saved without."""
    return ValueError(
        "What has adapters cannot be saved whole or cloned: a copy would lack them. "
        f"Received: {name!r}. Call `kmmft.finetuning.merge_adapters(model)` first, or "
        "keep the adapters alone with `save_adapters`, or all weights with "
        "`save_weights`."
    )


def adapted_layers(layers: dict[str, keras.layers.Layer]) -> dict[str, AdaptedLayer]:
    """Those that have an adapter now, merged ones left out."""
    return {k: v for k, v in layers.items() if isinstance(v, AdaptedLayer)}


def check_can_adapt(path: str, layer: keras.layers.Layer) -> None:
    """Raises a ValueError unless an adapter can be put into the layer."""
    if not layer.built:
        problem = "has no weights yet. Call the model on a batch first."
    elif isinstance(layer, AdaptedLayer) or hasattr(layer, "merged_adapter"):
        problem = "has an adapter already. Let the rules of a plan not overlap."
    elif layer.quantization_mode is not None:
        problem = "is quantised. Put in adapters first, merge them, then quantise."
    elif "call" in layer.__dict__:
        # Whoever replaced it knows only the layer's old class.
        problem = "has a `call` of its own. Rematerialise after adapters are in."
    else:
        return
    raise ValueError(
        f"This layer cannot take an adapter. Received: {path!r}, which {problem}"
    )


def adapt(
    layer: keras.layers.Layer, mixin: type[AdaptedLayer], adapter
) -> list[keras.Variable]:
    """Puts an adapter into a layer.

    Args:
        layer: A built layer. Changed in place.
        mixin: What its class gets.
        adapter: The adapter's configuration, read by the mixin as `self.adapter`.

    Returns:
        The adapter's weights.
    """
    _swap_class(layer, _adapted_class(mixin, type(layer)))
    layer.adapter = adapter
    layer.adapter_names = ()
    layer._tracker.unlock()
    layer.build_adapter()
    layer._tracker.lock()
    return layer.adapter_weights()


@dataclasses.dataclass(frozen=True)
class _Merged:
    """What it takes to undo a merge. Held by the layer, out of Keras' sight."""

    adapted_class: type
    adapter: object
    parts: dict[str, keras.Variable | keras.layers.Layer]
    adapter_values: list[np.ndarray]
    own_values: list[np.ndarray]


def merge(layer: AdaptedLayer) -> None:
    """Puts the adapter's change into the layer's own weights; it is a plain layer then.

    The adapter's weights are set to change nothing, since graphs that were traced
    before go on using them.
    """
    merged = layer.merged_values()
    record = _Merged(
        adapted_class=type(layer),
        adapter=layer.adapter,
        parts=layer.adapter_parts(),
        adapter_values=[weight.numpy() for weight in layer.adapter_weights()],
        own_values=[variable.numpy() for variable, _ in merged],
    )
    _assign(*zip(*merged, strict=True))
    layer.reset_adapter()
    remove(layer)
    layer.merged_adapter = record


def remove(layer: AdaptedLayer) -> None:
    """Takes the adapter out of a layer, which is of its own class then."""
    layer._tracker.unlock()
    for name, part in layer.adapter_parts().items():
        layer._tracker.untrack(part)
        # Keras' own `delattr` collects all garbage, for each weight.
        super(keras.layers.Layer, layer).__delattr__(name)
    layer._tracker.lock()
    del layer.adapter, layer.adapter_names
    _swap_class(layer, layer.own_class)


def unmerge(layer: keras.layers.Layer) -> None:
    """Undoes `merge`: the layer's own weights are what they were, bit for bit.

    Raises:
        ValueError: If they have changed since the merge.
    """
    record = layer.merged_adapter
    _put_back(layer, record)
    own = [variable for variable, _ in layer.merged_values()]
    present = [variable.numpy() for variable in own]
    _assign(own, record.own_values)
    merged = [value for _, value in layer.merged_values()]
    if all(np.array_equal(a, b) for a, b in zip(present, merged, strict=True)):
        del layer.merged_adapter
        return
    _assign(own, present)
    layer.reset_adapter()
    remove(layer)
    raise ValueError(
        "A merge can be undone only while the merged weights stay as they are. "
        f"Received: {layer.name!r}, whose weights have changed since."
    )


def _put_back(layer: keras.layers.Layer, record: _Merged) -> None:
    _swap_class(layer, record.adapted_class)
    layer.adapter = record.adapter
    layer.adapter_names = tuple(record.parts)
    layer._tracker.unlock()
    for name, part in record.parts.items():
        setattr(layer, name, part)
    layer._tracker.lock()
    _assign(layer.adapter_weights(), record.adapter_values)


def _assign(variables, values) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


@functools.cache
def _adapted_class(mixin: type, base: type) -> type:
    name = f"{mixin.__name__}{base.__name__}"
    return type(name, (mixin, base), {"own_class": base})


def _swap_class(layer: keras.layers.Layer, new: type) -> None:
    # Past Keras' tracking of attributes.
    object.__setattr__(layer, "__class__", new)
