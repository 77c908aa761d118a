"""A picture of a batch, to look at what the model is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from kmmft.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    import matplotlib.figure

_COLUMNS = 4
_TEXT_LENGTH = 60


def preview(
    dataset_or_batch: tf.data.Dataset | Mapping | tuple,
    num_examples: int = 16,
    vocabulary: Vocabulary | None = None,
    tokenizer: Callable | None = None,
) -> matplotlib.figure.Figure:
    """Draws the examples of a batch: the image, and what goes with it.

    Strings and numbers of each example are written under its image; of other keys,
    the shape is.

    Args:
        dataset_or_batch: A dataset, of which the first batch is drawn, or a batch: a
            dict, or a tuple such as `(x, y)`.
        num_examples: How many examples to draw at most.
        vocabulary: Gives the names of a `label`.
        tokenizer: Has a `detokenize` that turns `token_ids` into texts.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: If the dataset is empty or `num_examples` is not positive.

    Example:
        >>> batch = {"image": tf.zeros((2, 8, 8, 3)), "id": tf.constant(["a", "b"])}
        >>> len(kmmft.data.preview(batch).axes)
        2
    """
    from matplotlib.figure import Figure

    batch = _arrays(_first_batch(dataset_or_batch))
    sizes = [len(value) for value in batch.values()]
    if num_examples < 1 or not sizes or min(sizes) < 1:
        raise ValueError(
            "A preview needs at least one example. "
            f"Received: num_examples={num_examples}, batch sizes {sizes}. "
            "Pass a batch that is not empty."
        )
    number = min(num_examples, *sizes)
    columns = min(_COLUMNS, number)
    rows = math.ceil(number / columns)
    figure = Figure(figsize=(3.2 * columns, 4.2 * rows), layout="constrained")
    for index in range(number):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.axis("off")
        example = {key: value[index] for key, value in batch.items()}
        image = example.pop("image", None)
        if image is not None:
            axes.imshow(np.clip(image, 0, 255).astype(np.uint8))
        lines = [
            _line(key, value, vocabulary, tokenizer) for key, value in example.items()
        ]
        # A dollar sign would start a formula.
        text = "\n".join(lines).replace("$", r"\$")
        axes.set_title(text, fontsize=8, loc="left", wrap=True)
    return figure


def _first_batch(dataset_or_batch: tf.data.Dataset | Mapping | tuple) -> object:
    if isinstance(dataset_or_batch, tf.data.Dataset):
        return next(iter(dataset_or_batch), {})
    return dataset_or_batch


def _arrays(batch: object, name: str = "") -> dict[str, np.ndarray]:
    """The batch as one flat dict of arrays with a batch axis."""
    if isinstance(batch, Mapping):
        children = batch.items()
    elif isinstance(batch, tuple | list):
        children = zip(("x", "y", "sample_weight"), batch, strict=False)
    else:
        return {} if batch is None else {name: np.asarray(batch)}
    arrays = {}
    for key, value in children:
        # Names of positions are only wanted where there are no others.
        inner = _arrays(value, str(key))
        arrays.update({k: v for k, v in inner.items() if v.ndim > 0})
    return arrays


def _line(
    key: str,
    value: np.ndarray,
    vocabulary: Vocabulary | None,
    tokenizer: Callable | None,
) -> str:
    if key.endswith("token_ids") and tokenizer is not None:
        text = tokenizer.detokenize(tf.constant(value)[tf.newaxis])
        return _shorten(f"{key}: {_text(np.asarray(text).reshape(-1)[0])}")
    if key in ("label", "y") and vocabulary is not None and np.ndim(value) == 0:
        return _shorten(f"{key}: {vocabulary.entries[int(value)]}")
    if np.ndim(value) == 0:
        return _shorten(f"{key}: {_text(value)}")
    if np.asarray(value).dtype == object:
        return _shorten(f"{key}: {', '.join(_text(item) for item in value.flat)}")
    return f"{key}: {value.dtype}{tuple(value.shape)}"


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _shorten(text: str) -> str:
    return text if len(text) <= _TEXT_LENGTH else f"{text[: _TEXT_LENGTH - 1]}…"
