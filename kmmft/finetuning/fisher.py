"""How much each number of a model matters to what the model knows."""

import itertools
from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf

from kmmft.finetuning.label_likelihood import LabelLikelihood
from kmmft.finetuning.named_parts import named_variables
from kmmft.finetuning.planned_weights import trainable_weights
from kmmft.training.micro_batches import part_of, run_parts, split


def estimate_fisher(
    model: keras.Model,
    dataset: Iterable,
    batches: int | None = None,
    *,
    empirical: bool = False,
    normalize: bool = False,
    task: str | None = None,
    log_likelihood: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Diagonal of the Fisher information: for `L2SP`, and for EWC.

    The mean over examples of the squared gradient of the log-likelihood. Gradients
    are squared example by example, which costs a backward pass for each; a few
    hundred examples of the old task do. The model runs in inference mode: without
    dropout, and with BatchNorm's own statistics. What only the training loss has
    (smoothing, focusing, class weights, regularizers) does not count.

    Contrastive models have no Fisher information here: an example's loss depends on
    the rest of its batch, so there is no likelihood of one example.

    Args:
        model: Built model with one output of logits, probabilities or numbers, of a
            single device.
        dataset: Batches `(x, y)` or `(x, y, ...)` of the old task; without
            `empirical` also of `x` alone.
        batches: How many of them to use; `None` for all.
        empirical: Whether labels are those of the data. Otherwise they are drawn from
            what the model predicts, which is the Fisher information proper.
        normalize: Whether to divide by the mean over all numbers of all weights, so
            that a strength of `L2SP` means about the same with it and without.
        task: `"single_label"`, `"multi_label"` or `"regression"` (unit variance);
            `None` to take `model.task`, or what belongs to the compiled loss.
        log_likelihood: For other outputs: given `y` and the outputs of one example,
            its log-likelihood, a tensor `(1,)`. Needs `empirical`.
        seed: Seed of the drawn labels.

    Returns:
        dict of float32 arrays by path, for all weights that can train, whether or not
        they are frozen now.

    Raises:
        ValueError: If there is no such likelihood, no batch, or no label where one is
            needed.

    Example:
        >>> inputs = keras.Input((2,))
        >>> outputs = keras.layers.Dense(1, use_bias=False, name="out")(inputs)
        >>> model = keras.Model(inputs, outputs)
        >>> model.compile(loss="mse")
        >>> model.set_weights([np.ones((2, 1))])
        >>> x = np.array([[1.0, 2.0]])
        >>> fisher = kmmft.finetuning.estimate_fisher(
        ...     model, [(x, np.zeros((1, 1)))], empirical=True
        ... )
        >>> fisher["out/kernel"].ravel()
        array([ 9., 36.], dtype=float32)

    References:
        - [Kirkpatrick et al., 2017](https://arxiv.org/abs/1612.00796), section 2.1.
        - [Li et al., 2018](https://arxiv.org/abs/1802.01483), eq. 5.
        - [Kunstner et al., 2019](https://arxiv.org/abs/1905.12558), eq. 2 and 3 (what
          `empirical` changes).
    """
    labels = None
    if log_likelihood is None:
        labels = LabelLikelihood(model, task)
        log_likelihood = labels.log_likelihood
    elif not empirical:
        raise ValueError(
            "Labels cannot be drawn from a likelihood that is a function. Received: "
            "`log_likelihood` without `empirical`. Set empirical=True, or a `task`."
        )
    can_train = trainable_weights(model)
    paths = {k: v for k, v in named_variables(model).items() if id(v) in can_train}
    weights = list(paths.values())

    def squares_of(x, y, key):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([weight.value for weight in weights])
            outputs = model(x, training=False)
            if labels is not None and tf.nest.is_nested(outputs):
                raise ValueError(
                    "Labels belong to one output. Received: a model with the outputs "
                    f"{outputs}. Set `log_likelihood` and empirical=True."
                )
            if not empirical:
                y = labels.draw(tf.stop_gradient(outputs), key)
            value = tf.reduce_sum(log_likelihood(y, outputs))
        return [tf.cast(g, tf.float32) ** 2 for g in _dense(tape, value, weights)]

    sums, count = _sum_over_examples(
        squares_of,
        [tf.zeros(weight.shape) for weight in weights],
        itertools.islice(dataset, batches),
        empirical,
        seed,
    )
    means = [total / count for total in sums]
    if normalize:
        scale = sum(m.sum() for m in means) / sum(m.size for m in means)
        means = [m / (scale or 1.0) for m in means]
    return {
        path: mean.astype(np.float32) for path, mean in zip(paths, means, strict=True)
    }


def _dense(tape: tf.GradientTape, value: tf.Tensor, weights: list) -> list[tf.Tensor]:
    gradients = tape.gradient(
        value, [weight.value for weight in weights], unconnected_gradients="zero"
    )
    return [tf.convert_to_tensor(gradient) for gradient in gradients]


def _sum_over_examples(
    squares_of: Callable, like: list, batches: Iterable, empirical: bool, seed: int
) -> tuple[list[np.ndarray], int]:
    @tf.function(reduce_retracing=True)
    def sums_of(x, y, number):
        parts, count = split((x, y), 1)
        key = tf.random.experimental.stateless_fold_in([seed, 0], number)

        def squares(index):
            own = tf.random.experimental.stateless_fold_in(key, index)
            return squares_of(*part_of(parts, index), own), ()

        return run_parts(squares, count, like)[0], count

    total, examples = None, 0
    for number, batch in enumerate(batches):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
        if empirical and y is None:
            raise ValueError(
                "`empirical` needs labels. Received: batches without `y`. Give "
                "batches (x, y), or set empirical=False."
            )
        x, y = tf.nest.map_structure(
            lambda value: None if value is None else tf.convert_to_tensor(value),
            (x, y if empirical else None),
        )
        sums, count = sums_of(x, y, tf.constant(number))
        sums = [value.numpy().astype(np.float64) for value in sums]
        total = total or [0.0] * len(sums)
        total = [a + b for a, b in zip(total, sums, strict=True)]
        examples += int(count)
    if not examples:
        raise ValueError(
            "Fisher information needs examples. Received: no batch. Give a dataset "
            "that is not empty."
        )
    return total, examples
