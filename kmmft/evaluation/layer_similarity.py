"""How alike two sets of features are, and a model's features layer by layer."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from kmmft.evaluation.measured_layers import layers_of_parts, part_of
from kmmft.finetuning.layer_outputs import model_inputs, token_mask


def linear_cka(x: np.ndarray, y: np.ndarray, debiased: bool = False) -> float:
    """Linear centred kernel alignment of two sets of features of the same examples.

    1 if the features are the same but for a rotation, a reflection, one factor for
    all and a shift; near 0 if they have nothing to do with each other. Other linear
    maps change it. It is computed in float64.

    Args:
        x: Features `(examples, width)`.
        y: Features `(examples, other width)`, of the same examples in the same order.
        debiased: Whether to estimate without bias. Else few examples of wide features
            look more alike than they are. The estimate may lie outside of [0, 1].

    Returns:
        The alignment; NaN if one set has the same features for all examples.

    Raises:
        ValueError: If the numbers of examples differ, or there are fewer than three,
            four if `debiased`. (Of any two examples the alignment is 1.)

    Example:
        >>> x = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 2.0]])
        >>> turned = x @ np.array([[0.0, -3.0], [3.0, 0.0]])
        >>> round(kmmft.evaluation.linear_cka(x, turned), 6)
        1.0
        >>> round(kmmft.evaluation.linear_cka(x, x[:, :1]), 6)
        0.242536

    References:
        - [Kornblith et al., 2019](https://arxiv.org/abs/1905.00414), eq. 2-3 and
          section 3.
        - [Nguyen et al., 2021](https://arxiv.org/abs/2010.15327), eq. 3 (debiased).
    """
    x, y = np.asarray(x), np.asarray(y)
    needed = 4 if debiased else 3
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) < needed:
        raise ValueError(
            "Features must be (examples, width), of the same examples, "
            f"{needed} or more. Received: shapes {x.shape} and {y.shape}. Give a "
            "larger batch, some hundred examples if you can."
        )
    product = _hsic_debiased if debiased else _hsic
    gram_x, gram_y = _centred_gram(x), _centred_gram(y)
    own = product(gram_x, gram_x) * product(gram_y, gram_y)
    if own <= 0:
        return float("nan")
    alignment = product(gram_x, gram_y) / np.sqrt(own)
    return float(alignment if debiased else min(alignment, 1.0))


def _centred_gram(x: np.ndarray) -> np.ndarray:
    """Inner products of all pairs of examples, whose mean is taken away."""
    x = np.asarray(x, np.float64)
    x = x - x.mean(axis=0)
    return x @ x.T


def _hsic(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    # A factor of all products, which alignment does not see, is left out.
    return float(np.sum(k * l))


def _hsic_debiased(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    return float(
        np.sum(k * l)
        + k.sum() * l.sum() / ((n - 1) * (n - 2))
        - 2 / (n - 2) * k.sum(axis=0) @ l.sum(axis=0)
    )


def pooled_outputs(
    model: keras.Model, batch, parts: Sequence[str], batch_size: int = 32
) -> dict[str, np.ndarray]:
    """Runs a model, without training it, and takes the mean output of its parts.

    Of tokens it is the mean over those that are real, where the batch has padding
    masks (`kmmft.finetuning.layer_outputs.token_mask`), else over all; of images the
    mean over the pixels, with channels last. Of a dict it is `pooled`, of other
    structures their first tensor. A layer that runs several times gives its last
    output.

    Args:
        model: Built model.
        batch: Inputs of the model: arrays or tensors, in any structure. Of a dict
            only what the model reads is used.
        parts: What `measured_layers` returned.
        batch_size: Examples that run at a time.

    Returns:
        dict of float32 arrays `(examples, width)` by part, without parts that did not
        run or whose outputs are not one row an example.

    Example:
        >>> model = keras.Sequential(
        ...     [keras.Input((3,)), keras.layers.Dense(2, name="head")])
        >>> outputs = kmmft.evaluation.layer_similarity.pooled_outputs(
        ...     model, np.ones((5, 3), "float32"), ["head"])
        >>> outputs["head"].shape
        (5, 2)
    """
    batch = model_batch(model, batch)
    total = len(tf.nest.flatten(batch)[0])
    layers = layers_of_parts(model, parts)
    # All that ran for a part, in the order in which it ran; the last one counts.
    part_names = {path: part_of(path, parts, layers) for path in layers}
    pieces = {}
    for start in range(0, total, batch_size):
        rows = slice(start, start + batch_size)
        x = tf.nest.map_structure(lambda v, rows=rows: tf.constant(v[rows]), batch)
        found = {}

        def record(path, outputs, x=x, found=found):
            found[part_names[path]] = (path, outputs)

        with _watched(layers, record):
            model(x, training=False)
        size = min(batch_size, total - start)
        for part, (path, outputs) in found.items():
            pieces.setdefault(part, []).append(_pooled(model, path, x, outputs, size))
    return {
        part: np.concatenate(pieces[part])
        for part in parts
        if part in pieces and all(piece is not None for piece in pieces[part])
    }


def model_batch(model: keras.Model, batch):
    """Inputs as arrays; of a dict only what the model reads."""
    names = model_inputs(model)
    if isinstance(batch, Mapping) and names:
        batch = {name: batch[name] for name in batch if name in names}
    return tf.nest.map_structure(np.asarray, batch)


@contextlib.contextmanager
def _watched(
    layers: Mapping[str, keras.layers.Layer], record: Callable
) -> Iterator[None]:
    """Within the `with` block each layer's outputs are told to `record`."""
    before = {path: vars(layer).get("call") for path, layer in layers.items()}

    def watched(path, call):
        def call_and_record(*args, **kwargs):
            outputs = call(*args, **kwargs)
            record(path, outputs)
            return outputs

        return call_and_record

    try:
        for path, layer in layers.items():
            layer.call = watched(path, layer.call)
        yield
    finally:
        for path, layer in layers.items():
            if before[path] is not None:
                layer.call = before[path]
            elif "call" in vars(layer):
                del layer.call


def _pooled(model: keras.Model, path: str, x, outputs, size: int) -> np.ndarray | None:
    if isinstance(outputs, Mapping) and "pooled" in outputs:
        outputs = outputs["pooled"]
    flat = [value for value in tf.nest.flatten(outputs) if tf.is_tensor(value)]
    if not flat or not flat[0].dtype.is_floating or not flat[0].shape.rank:
        return None
    tensor = tf.cast(flat[0], tf.float32)
    if len(tensor) != size:
        return None
    mask = token_mask(model, path, x, tensor)
    if tensor.shape.rank == 1:
        tensor = tensor[:, tf.newaxis]
    elif mask is not None:
        weights = tf.cast(mask, tf.float32)[..., tf.newaxis]
        count = tf.maximum(tf.reduce_sum(weights, axis=1), 1.0)
        tensor = tf.reduce_sum(tensor * weights, axis=1) / count
    elif tensor.shape.rank > 2:
        tensor = tf.reduce_mean(tensor, axis=range(1, tensor.shape.rank - 1))
    return tensor.numpy()
