"""Changes what named inputs and layers give, while a forward pass runs."""

import contextlib
import fnmatch
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import tensorflow as tf

from kmmft.finetuning.named_parts import named_layers
from kmmft.finetuning.near_names import near_names

# Replicas run in threads of their own, which take turns in the middle of a pass.
_running = threading.local()


class ChangeableParts:
    """Float inputs and layers of a model that patterns name.

    Args:
        model: Built model.
        patterns: `fnmatch` patterns over the names of the model's float inputs and
            over the paths of its layers (`kmmft.finetuning.named_layers`).

    Raises:
        ValueError: If a pattern matches nothing.
    """

    def __init__(self, model: keras.Model, patterns: str | Sequence[str]):
        patterns = [patterns] if isinstance(patterns, str) else list(patterns)
        layers = named_layers(model)
        floats = [name for name, x in model_inputs(model).items() if _is_float(x)]
        self.model = model
        self.pattern_of = {}
        for pattern in patterns:
            found = fnmatch.filter([*floats, *layers], pattern)
            if not found:
                raise _no_match(pattern, [*floats, *layers])
            for name in found:
                self.pattern_of.setdefault(name, pattern)
        self.inputs = [name for name in floats if name in self.pattern_of]
        self.layers = {
            path: layer for path, layer in layers.items() if path in self.pattern_of
        }

    @contextlib.contextmanager
    def changed(
        self, x, change: Callable[[str, int, tf.Tensor], tf.Tensor]
    ) -> Iterator:
        """Within the `with` block the parts give other tensors.

        Args:
            x: The model's inputs.
            change: Given the name of an input or the path of a layer, how often it
                came before, and its tensor, returns the tensor in its place.

        Yields:
            The inputs to use instead of `x`.
        """
        counts = {}

        def numbered(name, tensor):
            number = counts.get(name, 0)
            counts[name] = number + 1
            return change(name, number, tensor)

        changes = {}
        for path, layer in self.layers.items():
            if not isinstance(layer.call, _ChangeableCall):
                layer.call = _ChangeableCall(layer.call)
            changes[id(layer.call)] = (path, numbered)
        stack = _stack()
        stack.append(changes)
        try:
            yield map_inputs(
                self.model,
                x,
                lambda name, tensor: (
                    numbered(name, tensor) if name in self.inputs else tensor
                ),
            )
        finally:
            stack.pop()


class _ChangeableCall:
    """A layer's `call`; while nothing is to be changed it is what it was."""

    def __init__(self, call: Callable):
        self.call = call

    def __call__(self, *args, **kwargs):
        outputs = self.call(*args, **kwargs)
        # A tied embedding gives a decoder's logits too: they are no embedding.
        if kwargs.get("reverse"):
            return outputs
        for changes in _stack():
            if id(self) in changes:
                path, change = changes[id(self)]
                outputs = change(path, _float_tensor(path, outputs))
        return outputs


def model_inputs(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """Symbolic inputs of a functional model by name; none of another model."""
    if not hasattr(model, "_inputs_struct"):
        return {}
    if isinstance(model.input, Mapping):
        return dict(model.input)
    return {tensor.name: tensor for tensor in tf.nest.flatten(model.input)}


def map_inputs(model: keras.Model, x, change: Callable[[str, tf.Tensor], tf.Tensor]):
    """Calls `change` with the name and the tensor of each of a model's inputs.

    What is in `x` beside the model's inputs stays as it is.
    """
    names = model_inputs(model)

    def changed(name, value):
        return change(name, tf.convert_to_tensor(value))

    if isinstance(x, Mapping):
        return {key: changed(key, x[key]) if key in names else x[key] for key in x}
    if not names:
        return x
    flat = [
        changed(name, value)
        for name, value in zip(names, tf.nest.flatten(x), strict=True)
    ]
    return tf.nest.pack_sequence_as(x, flat)


def token_mask(model: keras.Model, path: str, x, tensor: tf.Tensor) -> tf.Tensor | None:
    """Which rows of a layer's output belong to real tokens, where the batch says so.

    Args:
        model: A model whose encoders, if it has several, are in `model.encoders`, and
            whose decoder, if it has one, is `model.decoder`.
        path: Path of a layer within it.
        x: The model's inputs: a dict with `padding_mask` or `<modality>_padding_mask`,
            and `target_padding_mask` for a decoder.
        tensor: The layer's output.

    Returns:
        bool tensor `(batch, tokens)`, or `None`.
    """
    if not isinstance(x, Mapping) or len(tensor.shape) != 3:
        return None
    encoders = getattr(model, "encoders", {})
    keys = [key for key in x if key.endswith("padding_mask")]
    keys = [key for key in keys if not key.startswith("negative_")]
    if encoders:
        names = {
            encoder.name: "padding_mask" if name == "text" else f"{name}_padding_mask"
            for name, encoder in encoders.items()
        }
        if getattr(model, "decoder", None) is not None:
            names[model.decoder.name] = "target_padding_mask"
        keys = [key for key in keys if key == names.get(path.partition("/")[0])]
    if len(keys) != 1:
        return None
    mask, hard = x[keys[0]], x.get(f"negative_{keys[0]}")
    if hard is not None:
        # A tower gets its explicit hard negatives after its own rows.
        mask = tf.concat([mask, tf.reshape(hard, [-1, hard.shape[-1]])], axis=0)
    if not mask.shape.is_compatible_with(tensor.shape[:2]):
        return None
    return tf.cast(mask, tf.bool)


def _stack() -> list[dict]:
    if not hasattr(_running, "stack"):
        _running.stack = []
    return _running.stack


def _is_float(tensor) -> bool:
    return tf.as_dtype(tensor.dtype).is_floating


def _float_tensor(path: str, outputs) -> tf.Tensor:
    if not tf.is_tensor(outputs) or not _is_float(outputs):
        raise ValueError(
            "Only a layer that returns one float tensor can be changed. Received: "
            f"{path!r}, which returns {tf.nest.map_structure(type, outputs)}. Name "
            "another layer, such as an embedding."
        )
    return outputs


def _no_match(pattern: str, names: list[str]) -> ValueError:
    return ValueError(
        "A pattern must match a float input or a layer of the model. Received: "
        f"{pattern!r}, which matches nothing. Near names: "
        f"{near_names(pattern, names)}; all are in "
        "kmmft.finetuning.named_layers(model)."
    )
