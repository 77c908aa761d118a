"""Batches of labelled examples with views of unlabelled ones beside them."""

from collections.abc import Callable

import tensorflow as tf

from kmmft.data.examples import Examples

Augment = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def add_unlabelled(
    labelled: tf.data.Dataset,
    unlabelled: Examples,
    *,
    ratio: int,
    weak: Augment | None,
    strong: Augment | None,
    batch_size: int,
    seed: int,
) -> tf.data.Dataset:
    """Puts two views of unlabelled examples into each batch, for `FixMatch`.

    Args:
        labelled: Endless batches of `(inputs, labels)`, such as those of
            `Examples.training_batches`.
        unlabelled: Examples with the same inputs; their labels are not used.
        ratio: Unlabelled examples for each labelled one.
        weak: `(image, seed) -> image` for the input `image`, such as
            `ImageAugmentation`. Other inputs are the same in both views.
        strong: Likewise; often `weak` with `RandAugment` after it.
        batch_size: Labelled examples in a batch.
        seed: Seed of the unlabelled ones' order and views.

    Returns:
        `tf.data.Dataset` of `(inputs, labels)`, with `weak_<name>` and
        `strong_<name>` `(batch_size, ratio, ...)` for each input.

    Raises:
        ValueError: If `ratio` is less than 1, or the inputs differ.

    Example:
        >>> few = kmmft.data.Examples({"x": np.zeros((4, 3))}, np.arange(4) % 2)
        >>> many = kmmft.data.Examples({"x": np.ones((9, 3))}, np.full(9, -1))
        >>> batches = kmmft.data.add_unlabelled(
        ...     few.training_batches(2, seed=0), many, ratio=7, weak=None,
        ...     strong=None, batch_size=2, seed=0)
        >>> inputs, labels = next(iter(batches))
        >>> inputs["strong_x"].shape
        TensorShape([2, 7, 3])
    """
    names = set(labelled.element_spec[0])
    if ratio < 1 or names != set(unlabelled.inputs):
        raise ValueError(
            "`ratio` must be at least 1, and the unlabelled examples must have the "
            f"labelled ones' inputs. Received: ratio={ratio}, {sorted(names)} and "
            f"{sorted(unlabelled.inputs)}."
        )

    def merge(batch, weak_batch, strong_batch):
        inputs, labels = batch
        views = {"weak": weak_batch[0], "strong": strong_batch[0]}
        added = {
            f"{kind}_{name}": tf.reshape(value, [batch_size, ratio, *value.shape[1:]])
            for kind, view in views.items()
            for name, value in view.items()
        }
        return {**inputs, **added}, labels

    # The same seed gives the same examples in the same order.
    views = [
        unlabelled.training_batches(batch_size * ratio, seed, augment)
        for augment in (weak, strong)
    ]
    options = tf.data.Options()
    options.autotune.enabled = False
    return tf.data.Dataset.zip(labelled, *views).map(merge).with_options(options)
