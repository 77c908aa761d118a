"""Which patches and which words made an answer or a similarity."""

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kmmft.encoders.families import image_family
from kmmft.evaluation.explain_attribution import (
    grad_cam,
    integrated_gradients,
    occlusion,
)
from kmmft.evaluation.explain_rollout import attention_rollout
from kmmft.evaluation.explain_subject import Subject, tapped

_WINDOWS = 8  # a side, for occlusion


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What made a score.

    Attributes:
        method: How it was found.
        target: The class, or the two modalities that were compared.
        score: The class's logit above the other's or the mean (for `multi_label` and
            regression the output itself), or the cosine.
        images: Pixels `(height, width, 3)` in [0, 255] by modality.
        heat: float arrays `(height, width)` by modality: what raises the score is
            positive.
        words: Pairs of a word and its weight, by modality.
        error: How far all weights together are from the score's difference from its
            baseline; `None` for methods without that property.
    """

    method: str
    target: str
    score: float
    images: Mapping[str, np.ndarray]
    heat: Mapping[str, np.ndarray]
    words: Mapping[str, list[tuple[str, float]]]
    error: float | None = None


def explain(
    model: keras.Model,
    example: Mapping[str, Any],
    method: str = "integrated_gradients",
    target: str | int | tuple[str, str] | None = None,
    against: str | int | None = None,
) -> Explanation:
    """Explains one answer of a FusionClassifier, or one similarity of a DualEncoder.

    - `"integrated_gradients"`: pixels and words, signed; all weights add up to the
      score's difference from a picture of the encoder's mean colour, whose words are
      the vocabulary's mean embedding.
    - `"occlusion"`: how far the score falls without a square, or without a word.
    - `"grad_cam"`: where in the last feature map of a CNN lies what raises the score.
    - `"attention_rollout"`: what a transformer's pooled vector is made of, whatever
      the score; for encoders of `keras.layers.MultiHeadAttention`.

    A modality that a method cannot read is left out.

    Args:
        model: A FusionClassifier or DualEncoder. Encoders other than `ImageEncoder`
            and `TextEncoder` keep their input and get no weights.
        example: One raw input by modality: encoded image, pixels `(height, width, 3)`
            of the encoder's size, or text.
        method: One of the above.
        target: A class or its index; default: the likeliest one. For a DualEncoder
            two modalities; default: the first two.
        against: Another class, or its index: why this and not that? Default: the
            mean of all classes. Where classes have parts in common, such as a
            colour, it tells which part is asked for.

    Returns:
        An `Explanation`.

    Raises:
        ValueError: If there is no such method or target, or the method can read none
            of the model's encoders.

    Example::

        explanation = kmmft.evaluation.explain(
            model, {"image": png, "question": "what colour is it?"})
        kmmft.evaluation.explanation_section([explanation])  # for write_report

    References:
        - [Sundararajan et al., 2017](https://arxiv.org/abs/1703.01365).
        - [Zeiler & Fergus, 2013](https://arxiv.org/abs/1311.2901), section 4.2.
        - [Selvaraju et al., 2016](https://arxiv.org/abs/1610.02391).
        - [Abnar & Zuidema, 2020](https://arxiv.org/abs/2005.00928).
    """
    if method not in _METHODS:
        raise ValueError(
            f"`method` must be one of {', '.join(map(repr, _METHODS))}. "
            f"Received: {method!r}"
        )
    subject = Subject(model, example, target, against)
    heat, token_weights, error = _METHODS[method](subject)
    if not heat and not token_weights:
        raise ValueError(
            f"`method` must be one that can read {list(model.encoders)}. Received: "
            f"{method!r}. Use 'integrated_gradients' or 'occlusion'"
        )
    words = {
        name: [(word, float(weights[places].sum())) for word, places in words]
        for name, weights in token_weights.items()
        for words in [subject.words(name)]
    }
    images = {name: subject.inputs[name] for name in heat}
    shown = (method, subject.target, subject.value)
    return Explanation(*shown, images, heat, words, error)


# === Methods: from a subject to heat, weights of tokens and an error ===
def _integrated_gradients(subject: Subject):
    parts, error = integrated_gradients(
        subject.score, subject.inputs, subject.baselines
    )
    summed = {name: part.sum(axis=-1) for name, part in parts.items()}
    heat = {name: summed[name] for name in subject.images}
    return heat, {name: summed[name] for name in subject.texts}, error


def _occlusion(subject: Subject):
    squares, parts, words = {}, {}, {}
    for name in subject.images:
        squares[name] = parts[name] = _squares(subject.inputs[name].shape[:2])
    for name in subject.texts:
        words[name] = subject.words(name)
        length = len(subject.token_ids(name))
        parts[name] = [
            np.isin(np.arange(length), places)[:, np.newaxis]
            for _, places in words[name]
        ]
    falls = occlusion(subject.score, subject.inputs, subject.baselines, parts)
    heat = {
        name: sum(
            fall * part[..., 0] for fall, part in zip(falls[name], windows, strict=True)
        )
        for name, windows in squares.items()
    }
    weights = {}
    for name in subject.texts:
        weights[name] = np.zeros(len(subject.token_ids(name)))
        for fall, (_, places) in zip(falls[name], words[name], strict=True):
            weights[name][places] = fall / len(places)
    return heat, weights, None


def _squares(size: tuple[int, int]) -> list[np.ndarray]:
    rows, columns = (np.arange(side) * _WINDOWS // side for side in size)
    places = rows[:, np.newaxis] * _WINDOWS + columns
    return [(places == place)[..., np.newaxis] for place in np.unique(places)]


def _grad_cam(subject: Subject):
    found = {}

    def keep(name):
        def call(original, *args, **kwargs):
            outputs = original(*args, **kwargs)
            maps = list(outputs.values()) if isinstance(outputs, dict) else [outputs]
            found[name] = maps[-1]  # of several stages the deepest one
            tape.watch(found[name])  # the weights may all be frozen
            return outputs

        return call

    with contextlib.ExitStack() as taps, tf.GradientTape(persistent=True) as tape:
        for name, encoder in subject.images.items():
            taps.enter_context(tapped(encoder.backbone, keep(name)))
        score = subject.run()
    heat = {}
    for name, features in found.items():
        if len(features.shape) == 4:
            slopes = tape.gradient(score, features, unconnected_gradients="zero")
            cam = grad_cam(features[0], slopes[0])[..., np.newaxis]
            size = subject.inputs[name].shape[:2]
            heat[name] = tf.image.resize(cam, size).numpy()[..., 0]
    return heat, {}, None


def _attention_rollout(subject: Subject):
    heat, weights = {}, {}
    for name, encoder in {**subject.images, **subject.texts}.items():
        attentions = _attentions(subject, encoder)
        if not attentions:
            continue
        shares = attention_rollout(attentions)
        if name in subject.texts:
            mask = subject.mask(name)
            rows = _pooled_rows(encoder.pooling, np.flatnonzero(mask))
            weights[name] = shares[rows].mean(axis=0) * mask
        else:
            prefix = image_family(encoder.backbone).prefix_tokens(encoder.backbone)
            rows = _pooled_rows(encoder.pooling, np.arange(prefix, len(shares)))
            size = subject.inputs[name].shape[:2]
            heat[name] = _spread(shares[rows].mean(axis=0)[prefix:], size)
    return heat, weights, None


def _attentions(subject: Subject, encoder: keras.Model) -> list[np.ndarray]:
    found = []
    kind = keras.layers.MultiHeadAttention

    def keep(original, *args, **kwargs):
        wanted = kwargs.pop("return_attention_scores", False)
        outputs, scores = original(*args, **kwargs, return_attention_scores=True)
        found.append(tf.cast(scores, tf.float32)[0].numpy())
        return (outputs, scores) if wanted else outputs

    with contextlib.ExitStack() as taps:
        for layer in encoder._flatten_layers():
            if isinstance(layer, kind) and type(layer).call is kind.call:
                taps.enter_context(tapped(layer, keep))
        subject.run()
    return found


def _pooled_rows(pooling: str, real: np.ndarray) -> np.ndarray:
    if pooling == "cls":
        return np.array([0])
    return real[-1:] if pooling == "last" else real


def _spread(weights: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Weights of patches, row by row, over the pixels of an image."""
    height, width = size
    rows = max(1, round((len(weights) * height / width) ** 0.5))
    grid = weights.reshape(rows, -1)
    places = np.arange(height) * rows // height, np.arange(width)
    columns = places[1] * grid.shape[1] // width
    return grid[places[0][:, np.newaxis], columns]


_METHODS = {
    "integrated_gradients": _integrated_gradients,
    "occlusion": _occlusion,
    "grad_cam": _grad_cam,
    "attention_rollout": _attention_rollout,
}
