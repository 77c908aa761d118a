"""The usual loss of a task, on logits."""

import keras

from kmmft.losses.sparse_targets import SparseTargets

TASKS = ("single_label", "multi_label", "regression")


def task_loss(
    task: str,
    num_outputs: int,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
) -> keras.losses.Loss:
    """The loss that belongs to a task; takes logits.

    Args:
        task: `"single_label"` (integer labels, softmax cross-entropy),
            `"multi_label"` (`(batch, num_outputs)` of 0 and 1, sigmoid cross-entropy)
            or `"regression"` (`(batch, num_outputs)`, squared error).
        num_outputs: Number of classes or of numbers.
        label_smoothing: Share of the target spread over all classes.
        focal_gamma: Focusing parameter of the focal loss; 0 is cross-entropy.

    Returns:
        A Keras loss. Weights of classes go to `fit(class_weight=...)`.

    Raises:
        ValueError: If the task is unknown, a parameter is out of its range, or a
            regression is asked for smoothing or focusing.

    Example:
        >>> loss = kmmft.losses.task_loss("single_label", 3, label_smoothing=0.1)
        >>> round(float(loss(np.array([2]), np.zeros((1, 3)))), 4)
        1.0986

    References:
        - [Szegedy et al., 2015](https://arxiv.org/abs/1512.00567), sec. 7 (label
          smoothing).
        - [Lin et al., 2017](https://arxiv.org/abs/1708.02002), eq. 4 (focal loss).
    """
    if task not in TASKS:
        raise ValueError(f"`task` must be one of {TASKS}. Received: task={task!r}.")
    if not 0 <= label_smoothing < 1 or focal_gamma < 0:
        raise ValueError(
            "`label_smoothing` must be from 0 to below 1 and `focal_gamma` not "
            f"negative. Received: label_smoothing={label_smoothing}, "
            f"focal_gamma={focal_gamma}."
        )
    losses = keras.losses
    options = {"from_logits": True, "label_smoothing": label_smoothing}
    if task == "regression":
        if label_smoothing or focal_gamma:
            raise ValueError(
                "A regression has no classes to smooth or focus on. Received: "
                f"label_smoothing={label_smoothing}, focal_gamma={focal_gamma}."
            )
        return losses.MeanSquaredError()
    if task == "multi_label":
        if focal_gamma:
            return losses.BinaryFocalCrossentropy(gamma=focal_gamma, **options)
        return losses.BinaryCrossentropy(**options)
    if focal_gamma:
        loss = losses.CategoricalFocalCrossentropy(
            alpha=1.0, gamma=focal_gamma, **options
        )
    elif label_smoothing:
        loss = losses.CategoricalCrossentropy(**options)
    else:
        return losses.SparseCategoricalCrossentropy(from_logits=True)
    return SparseTargets(loss, num_classes=num_outputs)
