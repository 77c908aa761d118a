"""Weights between those before and those after fine-tuning (WiSE-FT)."""

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import numpy as np

from kmmft.finetuning.named_parts import named_variables

logger = logging.getLogger(__name__)


def weight_values(model: keras.Model) -> dict[str, np.ndarray]:
    """Copies all weights of a model, as they are now.

    Args:
        model: Built model, of any strategy.

    Returns:
        dict of arrays by path (see `named_variables`), in the dtypes of the weights.
        BatchNorm's statistics are among them; seeds and metrics are not.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> values = kmmft.finetuning.weight_values(model)
        >>> [value.shape for value in values.values()]
        [(2, 1), (1,)]
    """
    # A copy of the copy that `numpy` should be: an alias would change in training.
    return {path: np.array(v.numpy()) for path, v in named_variables(model).items()}


@contextlib.contextmanager
def old_weights_on_error(model: keras.Model) -> Iterator[dict[str, np.ndarray]]:
    """Gives a model its weights back if what is done within fails; yields a copy."""
    before = weight_values(model)
    try:
        yield before
    except BaseException:
        for path, variable in named_variables(model).items():
            variable.assign(before[path])
        raise


def interpolate_weights(
    model: keras.Model,
    start: Mapping[str, np.ndarray],
    end: Mapping[str, np.ndarray],
    alpha: float,
) -> None:
    """Sets a model's weights to `(1 - alpha) * start + alpha * end`.

    Computed in float32, whatever the dtypes of the weights. What is no floating-point
    number, such as a counter, is taken from `end`. BatchNorm's statistics are mixed
    like weights; `update_batch_norm` finds better ones.

    Args:
        model: Built model, of any strategy.
        start: Weights by path, as `weight_values` returns them, such as those before
            fine-tuning.
        end: Likewise, such as those after it.
        alpha: Share of `end`, in [0, 1]. 0 gives `start` and 1 `end`, bit for bit.

    Raises:
        ValueError: If `alpha` is outside of [0, 1], or the weights are not those of
            the model. The model is then as it was.

    Example:
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> start = kmmft.finetuning.weight_values(model)
        >>> model.layers[0].bias.assign([4.0]).shape
        TensorShape([1])
        >>> end = kmmft.finetuning.weight_values(model)
        >>> kmmft.finetuning.interpolate_weights(model, start, end, alpha=0.25)
        >>> model.layers[0].bias.numpy()
        array([1.], dtype=float32)

    References:
        - [Wortsman et al., 2022](https://arxiv.org/abs/2109.01903), eq. 1.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(
            f"`alpha` must be in [0, 1]. Received: alpha={alpha}. Choose how much of "
            "the weights after fine-tuning to take."
        )
    variables = named_variables(model)
    for name, values in (("start", start), ("end", end)):
        _check_paths(variables, values, name)
    for path, variable in variables.items():
        variable.assign(_mixed(start[path], end[path], alpha, variable.dtype))


def _mixed(start, end, alpha: float, dtype: str) -> np.ndarray:
    if not keras.backend.is_float_dtype(dtype) or alpha == 1:
        return end
    if alpha == 0:
        return start
    # Weights of float64 stay so.
    start, end = (np.asarray(v, np.result_type(v, np.float32)) for v in (start, end))
    share = start.dtype.type(alpha)
    return ((1 - share) * start + share * end).astype(dtype)


def _check_paths(variables: Mapping, values: Mapping, name: str) -> None:
    different = sorted(set(variables) ^ set(values)) or [
        path
        for path, variable in variables.items()
        if np.shape(values[path]) != tuple(variable.shape)
    ]
    if different:
        raise ValueError(
            f"`{name}` must hold the weights of the model, of the same shapes. "
            f"Received: {len(different)} that differ, such as {different[:3]}. Take "
            "it with weight_values(model) after a plan or adapters have changed the "
            "model."
        )


def wise_ft(
    model: keras.Model,
    start: Mapping[str, np.ndarray],
    evaluate: Callable[[keras.Model], Mapping[str, float]],
    *,
    choose: str | Callable[[dict[str, float]], float],
    alphas: Sequence[float] | None = None,
) -> list[dict[str, float]]:
    """Finds the best mean of the weights before and after fine-tuning.

    Fine-tuned weights are often better on the target, and the first ones on all
    else; between them a model may keep most of both. Needs no training. Where head
    weights are new, `start` should hold a trained head: that of a linear probe, or of
    class names (zero-shot).

    Args:
        model: The fine-tuned model. It ends with the weights of the best alpha.
        start: Its weights before, as `weight_values` returns them.
        evaluate: Measures the model, such as `{"target_accuracy": 0.8,
            "kept_accuracy": 0.6}`. Use validation data: alpha is chosen by it.
        choose: The measure that decides: lower is better where its name ends with
            `loss`, `error`, `mae` or `mse`, else higher. Or a function of a row,
            whose higher values are better, such as a mean of two measures.
        alphas: Shares of the fine-tuned weights to try; `None` for 0, 0.1, ... 1.

    Returns:
        One dict for each alpha, in order: `alpha`, the measures, and `chosen`, which
        is 1.0 for the best one and else 0.0. Of equals the smallest alpha is the
        best, as the nearest to the start.

    Raises:
        ValueError: If there are no alphas, `evaluate` does not measure what `choose`
            names, or no score is a number. Then, and if `evaluate` fails, the model
            has its fine-tuned weights.

    Example:
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> start = kmmft.finetuning.weight_values(model)
        >>> model.layers[0].bias.assign([4.0]).shape
        TensorShape([1])
        >>> def evaluate(model):
        ...     return {"error": abs(float(model.layers[0].bias[0]) - 3)}
        >>> rows = kmmft.finetuning.wise_ft(
        ...     model, start, evaluate, choose="error", alphas=[0, 0.5, 1])
        >>> rows[1]
        {'alpha': 0.5, 'error': 1.0, 'chosen': 1.0}
        >>> model.layers[0].bias.numpy()
        array([2.], dtype=float32)

    References:
        - [Wortsman et al., 2022](https://arxiv.org/abs/2109.01903), eq. 1 and
          section 4 (alpha).
    """
    alphas = sorted(set(np.linspace(0, 1, 11) if alphas is None else alphas))
    if not alphas:
        raise ValueError(
            "There must be alphas to try. Received: alphas=[]. Leave `alphas` out for "
            "0, 0.1, ... 1."
        )
    with old_weights_on_error(model) as end:
        rows = []
        for alpha in alphas:
            interpolate_weights(model, start, end, alpha)
            rows.append({"alpha": round(float(alpha), 12), **evaluate(model)})
        scores = [_score(row, choose) for row in rows]
        if max(scores) == -math.inf:
            raise ValueError(
                "Some alpha must have a score. Received: none that is a number, "
                f"among {rows}. Look at what `evaluate` measures."
            )
        best = scores.index(max(scores))
        interpolate_weights(model, start, end, alphas[best])
    logger.info("WiSE-FT: of %d alphas the best is %s", len(rows), rows[best])
    return [{**row, "chosen": float(n == best)} for n, row in enumerate(rows)]


def _score(row: dict[str, float], choose: str | Callable) -> float:
    if callable(choose):
        score = float(choose(row))
    elif choose not in row or choose == "alpha":
        raise ValueError(
            f"`choose` must name a measure. Received: {choose!r}. `evaluate` returns "
            f"{sorted(set(row) - {'alpha'})}."
        )
    else:
        lower = choose.endswith(("loss", "error", "mae", "mse"))
        score = -float(row[choose]) if lower else float(row[choose])
    return -math.inf if math.isnan(score) else score
