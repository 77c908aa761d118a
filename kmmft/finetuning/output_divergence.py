"""How far two outputs of a model are from each other, as distributions."""

import itertools
from collections.abc import Mapping

import keras
import tensorflow as tf

from kmmft.losses import TASKS
from kmmft.training.collectives import all_gather, num_replicas

OUTPUT_KINDS = (*TASKS, "similarity")


def output_kind(model: keras.Model, kind: str | None = None) -> str:
    """What a model's outputs are, so that they can be compared.

    Args:
        model: Compiled model.
        kind: `None` for what a kmmft model says of itself, or one of: `"single_label"`
            (logits of a softmax along the last axis), `"multi_label"` (logits of
            sigmoids), `"regression"` (numbers, compared by half their squared
            distance, the divergence of normal distributions of variance 1) or
            `"similarity"` (a dual encoder's vectors: the softmax of each query's
            scaled cosines to all candidates of the global batch).

    Raises:
        ValueError: If there is no such kind, or the model does not say.
    """
    has_cosines = hasattr(model, "towers") and not hasattr(model, "scorer")
    if kind is None:
        kind = "similarity" if has_cosines else getattr(model, "task", None)
    if kind not in OUTPUT_KINDS or (kind == "similarity" and not has_cosines):
        raise ValueError(
            f"The outputs to be compared must be one of {OUTPUT_KINDS}, the last for "
            f"dual encoders only. Received: {kind!r} for {type(model).__name__}. Set "
            "the option's `outputs`."
        )
    return kind


def comparable(model: keras.Model, outputs, kind: str) -> list[tf.Tensor]:
    """Outputs as float32 tensors that `divergence` compares one by one.

    Args:
        model: The model that made them.
        outputs: A tensor, or a dict of them; for `"similarity"` a dict of unit vectors
            `(batch, dim)` by modality, on each replica its own.
        kind: As `output_kind` returns it.
    """
    if isinstance(outputs, Mapping):
        # Explicit hard negatives are nobody's output.
        outputs = {k: x for k, x in outputs.items() if not k.startswith("negative_")}
    if kind != "similarity":
        return [tf.cast(x, tf.float32) for x in tf.nest.flatten(outputs)]
    everyone = {key: all_gather(vectors) for key, vectors in outputs.items()}
    return [
        tf.matmul(outputs[query], everyone[candidate], transpose_b=True)
        * model.logit_scale
        for query, candidate in itertools.permutations(outputs, 2)
    ]


def divergence(
    targets: list[tf.Tensor],
    outputs: list[tf.Tensor],
    kind: str,
    temperature: float = 1.0,
) -> tf.Tensor:
    """KL(targets || outputs), averaged over the examples of all replicas.

    Args:
        targets: What `comparable` returned.
        outputs: Likewise, of the same shapes.
        kind: As `output_kind` returns it.
        temperature: Divides the logits of both; not used for `"regression"`.

    Returns:
        float32 scalar, this replica's part of the global mean.
    """
    means = [
        tf.reduce_mean(_rows(target, output, kind, temperature))
        for target, output in zip(targets, outputs, strict=True)
    ]
    return tf.add_n(means) / (len(means) * num_replicas())


def symmetric_divergence(
    some: list[tf.Tensor], others: list[tf.Tensor], kind: str
) -> tf.Tensor:
    """KL(some || others) + KL(others || some), as `divergence`."""
    return divergence(some, others, kind) + divergence(others, some, kind)


def _rows(target, output, kind: str, temperature: float) -> tf.Tensor:
    if kind == "regression":
        return tf.reduce_sum(tf.square(target - output), axis=-1) / 2
    target, output = target / temperature, output / temperature
    if kind == "multi_label":
        # Each label is a choice between two classes, of logits x and 0.
        pairs = [tf.stack([x, tf.zeros_like(x)], axis=-1) for x in (target, output)]
        return tf.reduce_sum(_rows(*pairs, "single_label", 1.0), axis=-1)
    target, output = tf.nn.log_softmax(target), tf.nn.log_softmax(output)
    return tf.reduce_sum(tf.exp(target) * (target - output), axis=-1)
