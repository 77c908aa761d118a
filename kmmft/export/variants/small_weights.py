"""SavedModels whose weights are stored in few bits."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kmmft.export.export_model import model_signatures
from kmmft.export.saved_model import export_saved_model
from kmmft.export.signature import Signature

SMALL_KINDS = ("float16", "bfloat16", "int8")
# Below this there is nothing to win.
_FEWEST_VALUES = 1024
# A scale is 4 bytes: with one for 16 values or more, int8 stays a third of float32.
_VALUES_PER_SCALE = 16


def export_small_weights(
    model: keras.Model,
    path: str | os.PathLike,
    examples: Mapping[str, Sequence],
    kind: str,
    **options: Any,
) -> pathlib.Path:
    """Exports a model as `export_model` does, with weights stored in few bits.

    The graph turns them back into the model's own precision at each request, and
    computes as before: the files and the memory between requests shrink, while a
    request takes a little longer (some 10 ms for 27 million weights on two CPU cores).

    - `float16`, `bfloat16`: all weights, but those that float16 cannot hold.
    - `int8`: matrices and kernels of 1,024 values or more, rounded to 255 steps
      between plus and minus their largest value, which is kept along the axis that
      gives the smallest error (for each row of an embedding table, for each output of
      a dense layer). Activations are not quantised.

    Weights that are no Keras variables, as in a SavedModel of another maker, stay as
    they are.

    Args:
        model: A model of `kmmft.models`. It is not changed.
        path: Base directory; the model is written to `path/1/`.
        examples: As in `export_model`.
        kind: `"float16"`, `"bfloat16"` or `"int8"`.
        **options: As in `export_model`.

    Returns:
        The directory of the version.

    Raises:
        ValueError: As `export_model`, or if the kind is unknown or a weight is not
            finite.
    """
    if kind not in SMALL_KINDS:
        raise ValueError(
            f"`kind` must be one of {', '.join(SMALL_KINDS)}. Received: {kind!r}."
        )
    stored = [
        (weight, small)
        for weight in _own_weights(model)
        if (small := _store(weight, kind)) is not None
    ]
    return export_saved_model(
        path,
        _with_weights(stored, lambda: model_signatures(model, **options)),
        resources=[model],
        examples=examples,
        tolerance=1e-4,
        version=1,
    )


def quantise_int8(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rounds a weight to int8 with a scale along one axis, or one scale in all.

    Args:
        weight: float array of two axes or more, finite.

    Returns:
        int8 array of the same shape, and the float32 scale by which it is to be
        multiplied, of shape 1 along all axes but at most one. The axis is the one with
        the smallest sum of squared errors.

    Example:
        >>> values, scale = kmmft.export.variants.small_weights.quantise_int8(
        ...     np.array([[127.0, -2.0], [0.6, 254.0]] * 64)
        ... )
        >>> values[:2].tolist(), scale.tolist()
        ([[127, -1], [1, 127]], [[1.0, 2.0]])
    """
    axes = [
        axis
        for axis, length in enumerate(weight.shape)
        if length * _VALUES_PER_SCALE <= weight.size
    ]
    best, smallest = None, np.inf
    for axis in [None, *axes]:
        others = tuple(i for i in range(weight.ndim) if i != axis)
        scale = np.abs(weight).max(axis=others, keepdims=True) / 127
        scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
        values = np.clip(np.rint(weight / scale), -127, 127).astype(np.int8)
        error = float(np.square(values * scale - weight).sum())
        if error < smallest:
            best, smallest = (values, scale), error
    return best


@dataclasses.dataclass(frozen=True)
class _StoredWeight:
    values: tf.Variable
    scale: tf.Variable | None
    dtype: tf.DType

    def read(self) -> tf.Tensor:
        if self.scale is None:
            return tf.cast(self.values, self.dtype)
        values = tf.cast(self.values, tf.float32) * self.scale
        return tf.cast(values, self.dtype)


def _own_weights(model: keras.Model) -> list[keras.Variable]:
    return list({id(weight): weight for weight in model.weights}.values())


def _store(weight: keras.Variable, kind: str) -> _StoredWeight | None:
    """The small form of one weight; None where it has none."""
    if keras.backend.standardize_dtype(weight.dtype) != "float32":
        return None
    array = keras.ops.convert_to_numpy(weight)
    if not np.isfinite(array).all():
        raise ValueError(
            "Weights must be finite numbers. Received: others in "
            f"{weight.path!r}. Look at the loss of the training."
        )

    def keep(value):
        return tf.Variable(value, trainable=False)

    if kind == "int8":
        if array.ndim < 2 or array.size < _FEWEST_VALUES:
            return None
        values, scale = quantise_int8(array)
        return _StoredWeight(keep(values), keep(scale), tf.float32)
    if kind == "float16" and np.abs(array).max(initial=0) > np.finfo(np.float16).max:
        return None
    return _StoredWeight(keep(tf.cast(array, kind)), None, tf.float32)


def _with_weights(
    stored: Sequence[tuple[keras.Variable, _StoredWeight]],
    make: Callable[[], Mapping[str, Signature]],
) -> dict[str, Signature]:
    """Signatures that read the stored weights in place of the model's own."""

    def wrapped(signature):
        def function(**inputs):
            values = [(weight, small.read()) for weight, small in stored]
            with keras.StatelessScope(state_mapping=values):
                return signature.function(**inputs)

        return Signature(function, signature.inputs, signature.examples)

    signatures, made = {}, {}
    for name, signature in make().items():
        if id(signature) not in made:
            # A new one each, since functions that two share would be traced once, and
            # hold tensors of the first one's graph.
            made[id(signature)] = wrapped(make()[name])
        signatures[name] = made[id(signature)]
    return signatures
