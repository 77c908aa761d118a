"""Whether an explanation is true: the score as its best parts go, or come alone."""

import keras
import numpy as np
import tensorflow as tf

from kmmft.evaluation.explain import Explanation
from kmmft.evaluation.explain_subject import Subject

_BLOCKS = 8  # a side


def deletion_insertion(
    model: keras.Model,
    example: dict,
    explanation: Explanation,
    modality: str = "image",
    target: str | int | tuple[str, str] | None = None,
    against: str | int | None = None,
    random_orders: int = 8,
    seed: int = 0,
) -> dict[str, float]:
    """Takes the hottest blocks of an image away, and puts them alone, step by step.

    The areas under the score's curves, against those of random orders: a faithful
    explanation has a small one for deletion and a large one for insertion.

    Args:
        model: As for `kmmft.evaluation.explain`.
        example: Likewise.
        explanation: Of this example.
        modality: Which image.
        target: As it was for the explanation.
        against: Likewise.
        random_orders: How many random orders to average.
        seed: Of the random orders.

    Returns:
        dict: `deletion`, `insertion`, `random_deletion` and `random_insertion`, mean
        scores along each way.

    Raises:
        ValueError: If the explanation has no such image.

    References:
        - [Petsiuk et al., 2018](https://arxiv.org/abs/1806.07421), section 3.3.
    """
    if modality not in explanation.heat:
        raise ValueError(
            f"`modality` must be one of {list(explanation.heat)}. "
            f"Received: {modality!r}"
        )
    subject = Subject(model, example, target, against)
    places = _blocks(explanation.heat[modality].shape)
    heat = np.bincount(places.ravel(), explanation.heat[modality].ravel())
    random = np.random.default_rng(seed)
    orders = [np.argsort(-heat, kind="stable")]
    orders += [random.permutation(len(heat)) for _ in range(random_orders)]
    image, blank = subject.inputs[modality], subject.baselines[modality]
    deleted = [_area(subject, modality, image, blank, places, o) for o in orders]
    inserted = [_area(subject, modality, blank, image, places, o) for o in orders]
    return {
        "deletion": deleted[0],
        "insertion": inserted[0],
        "random_deletion": float(np.mean(deleted[1:])),
        "random_insertion": float(np.mean(inserted[1:])),
    }


def _blocks(size: tuple[int, int]) -> np.ndarray:
    rows, columns = (np.arange(side) * _BLOCKS // side for side in size)
    numbers = rows[:, np.newaxis] * _BLOCKS + columns
    return np.unique(numbers, return_inverse=True)[1].reshape(size)


def _area(subject, modality, start, end, places, order) -> float:
    rank = np.argsort(order)[places][..., np.newaxis]
    ways = [np.where(rank < count, end, start) for count in range(len(order) + 1)]
    scores = subject.score({modality: tf.constant(np.stack(ways))}).numpy()
    return float(np.trapezoid(scores) / len(order))
