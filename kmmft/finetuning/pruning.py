"""Magnitude pruning: the smallest weights become zero and stay zero."""

import logging
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from kmmft.finetuning.adapters.adapted_layer import adapted_layers
from kmmft.finetuning.matching_names import matching_names
from kmmft.finetuning.named_parts import named_layers, named_variables
from kmmft.finetuning.near_names import near_names

logger = logging.getLogger(__name__)

SCOPES = ("global", "layer")


def prune(
    model: keras.Model,
    sparsity: float,
    targets: str | Sequence[str] = "*/kernel",
    scope: str = "global",
) -> dict[str, float]:
    """Sets the smallest weights to zero, and keeps them there in all later training.

    Call it on a trained model, then `compile` and `fit` for a short while with a small
    rate, so that the other weights make up for the loss. The zeros are kept by the
    weights' `constraint`, after every update of any optimizer, on any number of
    replicas and in any dtype policy. (Only Keras' own `use_ema` averages weights before
    they are constrained; that of kmmft's optimizers does not.)

    They are plain zeros in plain weights: a saved model has them, and pruning it by as
    much again finds the same ones, so that training can go on. To prune in steps, call
    it again with a higher sparsity.

    Zeros make the *compressed* model smaller, as a zip file or when it is sent. They
    make neither the SavedModel nor its latency smaller, since dense kernels are run;
    `prune_hidden_units` and `keep_layers` do both.

    Args:
        model: Built model, changed in place. Merge adapters before.
        sparsity: Share of the targets' weights that become zero, in [0, 1); 0 lets
            pruned weights train again.
        targets: `fnmatch` patterns over the paths of weights (see `named_variables`).
        scope: `"global"` for the smallest of all targets together, `"layer"` for the
            same share of each.

    Returns:
        dict of the share of zeros by path, as `zero_shares`.

    Raises:
        ValueError: If a number or pattern is wrong, the model has adapters, or a
            weight is no finite float.

    Example:
        >>> model = keras.Sequential([
        ...     keras.Input((2,)), keras.layers.Dense(2, name="dense")])
        >>> model.set_weights([np.array([[3.0, -1.0], [2.0, -4.0]]), np.zeros(2)])
        >>> kmmft.finetuning.prune(model, sparsity=0.5)
        {'dense/kernel': 0.5}
        >>> model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
        >>> history = model.fit(np.ones((4, 2)), np.ones((4, 2)), verbose=0)
        >>> model.get_weights()[0][[0, 1], [1, 0]]
        array([0., 0.], dtype=float32)

    References:
        - [Han et al., 2015](https://arxiv.org/abs/1506.02626), section 3: train,
          prune by magnitude, retrain.
        - [Zhu & Gupta, 2017](https://arxiv.org/abs/1710.01878), section 3 (masks by
          magnitude, a share of each layer).
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"`sparsity` must be in [0, 1). Received: {sparsity}.")
    if scope not in SCOPES:
        raise ValueError(f"`scope` must be one of {SCOPES}. Received: {scope!r}.")
    if adapted_layers(named_layers(model)):
        raise ValueError(
            "Adapters would fill the zeros when they are merged. Received: "
            f"{model.name!r} with adapters. Call `merge_adapters` before."
        )
    weights = _targets(model, targets)
    sizes = {path: _magnitudes(path, weight) for path, weight in weights.items()}
    if scope == "global":
        kept = _largest_of_all(sizes, sparsity)
    else:
        kept = {path: _largest(size, sparsity) for path, size in sizes.items()}
    with model.distribute_strategy.scope():
        for path, weight in weights.items():
            _keep_only(weight, kept[path] if sparsity else None)
    shares = zero_shares(model, targets)
    emptied = [path for path, mask in kept.items() if not mask.any()]
    if emptied:
        logger.warning("Pruning left nothing of %s: lower the sparsity", emptied)
    logger.info("Pruned %d weights by %.1f %%", len(weights), 100 * sparsity)
    # A step that was traced knows nothing of the constraints.
    model.train_function = None
    return shares


def zero_shares(
    model: keras.Model, targets: str | Sequence[str] = "*/kernel"
) -> dict[str, float]:
    """How much of each weight is exactly zero.

    Args:
        model: Built model, pruned or not.
        targets: As for `prune`.

    Returns:
        dict of shares in [0, 1] by path.

    Raises:
        ValueError: If a pattern matches nothing.

    Example:
        >>> model = keras.Sequential([
        ...     keras.Input((2,)), keras.layers.Dense(2, name="dense")])
        >>> kmmft.finetuning.zero_shares(model, "dense/*")
        {'dense/kernel': 0.0, 'dense/bias': 1.0}
    """
    return {
        path: float(np.mean(weight.numpy() == 0))
        for path, weight in _targets(model, targets).items()
    }


class _KeepZeros(keras.constraints.Constraint):
    """Sets the weights outside of a mask to zero, after another constraint."""

    def __init__(self, kept: np.ndarray, before: Callable | None):
        self.kept = keras.Variable(kept, dtype="bool", trainable=False, name="kept")
        self.before = before

    def __call__(self, weight):
        weight = weight if self.before is None else self.before(weight)
        return tf.where(self.kept.value, weight, tf.zeros((), weight.dtype))


def _keep_only(weight: keras.Variable, kept: np.ndarray | None) -> None:
    before = weight.constraint
    if isinstance(before, _KeepZeros):
        before = before.before
    weight.constraint = before if kept is None else _KeepZeros(kept, before)
    if kept is not None:
        weight.assign(np.where(kept, weight.numpy(), 0))


def _targets(model: keras.Model, targets) -> dict[str, keras.Variable]:
    weights = named_variables(model)
    return matching_names(
        weights,
        targets,
        lambda pattern: (
            "`targets` must match weights. Received: "
            f"{pattern!r}, which matches none. Near names: "
            f"{near_names(pattern, weights)}."
        ),
    )


def _magnitudes(path: str, weight: keras.Variable) -> np.ndarray:
    if not tf.as_dtype(weight.dtype).is_floating:
        raise ValueError(
            "Only float weights can be pruned. Received: "
            f"{path!r} of {weight.dtype}. Name others with `targets`."
        )
    size = np.abs(weight.numpy().astype("float32"))
    if not np.isfinite(size).all():
        raise ValueError(
            "Weights must be finite to be pruned. Received: "
            f"{path!r} with NaN or infinity. Load a checkpoint from before."
        )
    return size


def _largest_of_all(sizes: dict[str, np.ndarray], sparsity: float) -> dict:
    flat = np.concatenate([size.ravel() for size in sizes.values()])
    kept = np.split(
        _largest(flat, sparsity), np.cumsum([size.size for size in sizes.values()])[:-1]
    )
    return {
        path: mask.reshape(size.shape)
        for (path, size), mask in zip(sizes.items(), kept, strict=True)
    }


def _largest(size: np.ndarray, sparsity: float) -> np.ndarray:
    """A mask without the `sparsity` smallest, exactly so many."""
    count = round(sparsity * size.size)
    kept = np.ones(size.size, bool)
    if count:
        kept[np.argpartition(size.ravel(), count - 1)[:count]] = False
    return kept.reshape(size.shape)
