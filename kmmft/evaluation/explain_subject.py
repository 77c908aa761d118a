"""A model and one example, opened where explanations look in."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kmmft.encoders import ImageEncoder, TextEncoder
from kmmft.evaluation.explain_words import words_of


@contextlib.contextmanager
def tapped(layer: keras.layers.Layer, call: Callable) -> Iterator[None]:
    """Lets `call(original, *args, **kwargs)` stand in for a layer's `call`."""
    original = layer.call

    def replacement(*args, **kwargs):
        return call(original, *args, **kwargs)

    vars(layer)["call"] = replacement
    try:
        yield
    finally:
        del vars(layer)["call"]


class Subject:
    """One example of a FusionClassifier or DualEncoder, as numbers that can move.

    The numbers are pixels and the embeddings of a text's tokens, by modality.

    Args:
        model: A FusionClassifier or DualEncoder.
        example: Raw input by modality: bytes, a text or pixels.
        target: A class, its index, or `None` for the likeliest; for a DualEncoder
            two modalities, or `None` for the first two.
        against: Another class or its index, or `None` for the mean of all.

    Raises:
        ValueError: If the model cannot be explained, or there is no such target.
    """

    def __init__(
        self, model: keras.Model, example: Mapping[str, Any], target=None, against=None
    ):
        if not hasattr(model, "encoders") or not hasattr(model, "preprocess"):
            raise ValueError(
                "Only a FusionClassifier or a DualEncoder can be explained. "
                f"Received: {type(model).__name__}"
            )
        self.model = model
        raw = {
            name: tf.convert_to_tensor(value)[None] for name, value in example.items()
        }
        self.batch = model.preprocess(raw)
        self.images = _of_kind(model, ImageEncoder)
        self.texts = _of_kind(model, TextEncoder)
        if not self.images and not self.texts:
            raise ValueError(
                "A model needs an ImageEncoder or a TextEncoder to be explained. "
                f"Received: {list(model.encoders)}"
            )
        self.embeddings = {name: _embedding(e) for name, e in self.texts.items()}
        self.inputs = self._inputs()
        self.baselines = self._baselines()
        outputs = model(self.batch, training=False)
        self.target, self._read = _target(model, outputs, target, against)
        self.value = float(self._read(outputs)[0])

    def score(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The target's logit above the other's or the mean, or a cosine.

        Args:
            inputs: Of some modalities: float tensors `(n, ...)`. The others stay.

        Returns:
            float32 tensor `(n,)`.
        """
        count = next(iter(inputs.values())).shape[0]
        batch = {key: tf.repeat(value, count, 0) for key, value in self.batch.items()}
        batch |= {name: value for name, value in inputs.items() if name in self.images}
        with contextlib.ExitStack() as taps:
            for name in self.texts.keys() & inputs.keys():
                taps.enter_context(_giving(self.embeddings[name], inputs[name]))
            outputs = self.model(batch, training=False)
        return tf.cast(self._read(outputs), tf.float32)

    def mask(self, name: str) -> np.ndarray:
        """Which tokens of a text are real, bool `(length,)`."""
        return self.model.select(name, self.batch)["padding_mask"][0].numpy()

    def words(self, name: str) -> list[tuple[str, list[int]]]:
        """Words of a text with the places of their tokens."""
        return words_of(self.texts[name].tokenizer, self.token_ids(name))

    def token_ids(self, name: str) -> np.ndarray:
        """Token ids of a text, int `(length,)`."""
        return self.model.select(name, self.batch)["token_ids"][0].numpy()

    def run(self) -> tf.Tensor:
        """The score of the example as it is, shape `()`."""
        return tf.cast(self._read(self.model(self.batch, training=False)), tf.float32)[
            0
        ]

    def _inputs(self) -> dict[str, np.ndarray]:
        inputs = {name: self.batch[name][0].numpy() for name in self.images}
        for name, layer in self.embeddings.items():
            inputs[name] = _embedded(layer, self.token_ids(name))
        return inputs

    def _baselines(self) -> dict[str, np.ndarray]:
        """An image of the encoder's mean colour; the vocabulary's mean for words.

        Padding would be no baseline: it is masked, and its embedding never trained.
        """
        baselines = {}
        for name, encoder in self.images.items():
            mean = np.asarray(encoder.mean, "float32")
            baselines[name] = np.zeros_like(self.inputs[name]) + mean
        for name, layer in self.embeddings.items():
            words = [p for _, ps in self.words(name) for p in ps]
            mean = _embedded(layer, np.arange(layer.input_dim)).mean(axis=0)
            baselines[name] = self.inputs[name].copy()
            baselines[name][words] = mean
        return baselines


def _giving(layer: keras.layers.Layer, value: tf.Tensor):
    return tapped(layer, lambda _, *args, **kwargs: tf.cast(value, layer.compute_dtype))


def _embedded(layer: keras.layers.Layer, token_ids: np.ndarray) -> np.ndarray:
    return tf.cast(layer(token_ids[np.newaxis]), tf.float32)[0].numpy()


def _embedding(encoder: TextEncoder) -> keras.layers.Layer:
    layers = [
        layer
        for layer in encoder._flatten_layers()
        if isinstance(layer, keras.layers.Embedding)
    ]
    if not layers or encoder.tokenizer is None:
        raise ValueError(
            "A text encoder needs a tokenizer and a `keras.layers.Embedding` to be "
            f"explained. Received: {encoder.name} without"
        )
    return max(layers, key=lambda layer: layer.input_dim)  # the others: segments


def _of_kind(model: keras.Model, kind: type) -> dict[str, keras.Model]:
    return {name: e for name, e in model.encoders.items() if isinstance(e, kind)}


def _target(model: keras.Model, outputs, target, against) -> tuple[str, Callable]:
    if against is not None and getattr(model, "task", None) != "single_label":
        raise ValueError(
            "`against` is for classes of which one is right. "
            f"Received: against={against!r}"
        )
    if isinstance(outputs, Mapping):
        return _pair(outputs, target or tuple(model.encoders)[:2])
    names = model.class_names
    best = int(np.argmax(outputs[0])) if target is None else target
    index = _class_index(names, best, "target")
    if model.task != "single_label":
        return names[index], lambda logits: logits[:, index]
    # A logit alone tells nothing: only its distance from others makes an answer.
    if against is None:
        return names[index], lambda logits: logits[:, index] - tf.reduce_mean(logits, 1)
    other = _class_index(names, against, "against")
    said = f"{names[index]} rather than {names[other]}"
    return said, lambda logits: logits[:, index] - logits[:, other]


def _class_index(names: list[str], wanted: str | int, argument: str) -> int:
    index = names.index(wanted) if wanted in names else wanted
    if not isinstance(index, int) or not 0 <= index < len(names):
        raise ValueError(
            f"`{argument}` must be one of the classes {names}, or its index. "
            f"Received: {wanted!r}"
        )
    return index


def _pair(outputs: Mapping, target) -> tuple[str, Callable]:
    if len(target) != 2 or not set(target) <= set(outputs):
        raise ValueError(
            f"`target` must be two of the modalities {list(outputs)}. "
            f"Received: {target!r}"
        )
    first, second = target
    return f"{first} and {second}", lambda vectors: tf.reduce_sum(
        vectors[first] * vectors[second], axis=-1
    )
