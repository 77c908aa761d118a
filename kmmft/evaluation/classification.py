"""How often a classifier is right, how sure that number is, and the floors below it."""

import collections
import math
from collections.abc import Hashable, Sequence

import numpy as np
import tensorflow as tf

Z_95 = 1.959963984540054  # the normal distribution's 97.5 % point


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a proportion, sound for few trials and near 0 or 1.

    Args:
        successes: Number of right answers.
        trials: Number of questions.

    Returns:
        The lower and the upper end.

    Raises:
        ValueError: If there are no trials, or more successes than trials.

    Example:
        >>> low, high = kmmft.evaluation.wilson_interval(9, 10)
        >>> round(low, 3), round(high, 3)
        (0.596, 0.982)

    References:
        - [Wilson, 1927](https://doi.org/10.1080/01621459.1927.10502953), eq. 4 of
          [Brown et al., 2001](https://doi.org/10.1214/ss/1009213286).
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(
            "Successes must be between 0 and a positive number of trials. Received: "
            f"{successes} of {trials}. Evaluate on at least one example."
        )
    share = successes / trials
    scale = 1 + Z_95**2 / trials
    centre = (share + Z_95**2 / (2 * trials)) / scale
    spread = math.sqrt(share * (1 - share) / trials + (Z_95 / (2 * trials)) ** 2)
    half = Z_95 * spread / scale
    return max(0.0, centre - half), min(1.0, centre + half)


def confusion_matrix(
    targets: Sequence[int], predictions: Sequence[int], num_classes: int
) -> np.ndarray:
    """Counts how often each class was taken for each other one.

    Args:
        targets: True class of each example.
        predictions: Predicted class of each example.
        num_classes: Number of classes.

    Returns:
        int64 array `(num_classes, num_classes)`: row = true class, column =
        predicted class.

    Raises:
        ValueError: If the lengths differ, there are no examples, or a class is out
            of range.

    Example:
        >>> kmmft.evaluation.confusion_matrix([0, 1, 1], [0, 0, 1], 2).tolist()
        [[1, 0], [1, 1]]
    """
    targets, predictions = np.asarray(targets), np.asarray(predictions)
    if targets.shape != predictions.shape or targets.ndim != 1 or not targets.size:
        raise ValueError(
            "There must be one prediction per target, and at least one. Received: "
            f"targets {targets.shape}, predictions {predictions.shape}. Pass two "
            "equally long lists of class numbers."
        )
    for name, values in (("targets", targets), ("predictions", predictions)):
        bad = (
            values[(values < 0) | (values >= num_classes)]
            if values.dtype.kind in "iu"
            else values
        )
        if bad.size:
            raise ValueError(
                f"{name} must be class numbers from 0 to {num_classes - 1}. Received: "
                f"{bad[0]!r}. Take the argmax of scores, and the number of a label."
            )
    counts = tf.math.confusion_matrix(targets, predictions, num_classes, dtype=tf.int64)
    return counts.numpy()


def classification_metrics(
    targets: Sequence[int],
    predictions: Sequence[int],
    class_names: Sequence[str],
    groups: Sequence[str] | None = None,
) -> dict[str, float]:
    """Accuracy with its interval, overall and by group, and macro F1.

    Macro F1 is the mean of the F1 scores of the classes that occur among the targets
    or the predictions, each class alike. The interval is Wilson's at 95 %: it tells
    how far the number could move on another draw of as many test examples.

    Args:
        targets: True class of each example.
        predictions: Predicted class of each example.
        class_names: Name of each class.
        groups: Group of each example, such as the type of its question. Examples
            whose group is "" are in no group.

    Returns:
        A flat dict: `accuracy`, `accuracy_low`, `accuracy_high`, `macro_f1`,
        `examples`, and for every group `accuracy/GROUP`, `accuracy_low/GROUP`,
        `accuracy_high/GROUP`, `examples/GROUP`.

    Raises:
        ValueError: If the lengths differ, there are no examples, or a class is out
            of range.

    Example:
        >>> metrics = kmmft.evaluation.classification_metrics(
        ...     [0, 1, 1, 0], [0, 1, 0, 0], ["no", "yes"], ["a", "a", "b", "b"]
        ... )
        >>> metrics["accuracy"], metrics["accuracy/b"], metrics["examples/b"]
        (0.75, 0.5, 2)
        >>> round(metrics["macro_f1"], 4)
        0.7333
    """
    counts = confusion_matrix(targets, predictions, len(class_names))
    right = np.asarray(targets) == np.asarray(predictions)
    true_positives = np.diag(counts)
    occurrences = counts.sum(axis=0) + counts.sum(axis=1)
    occurs = occurrences > 0
    f1 = 2 * true_positives[occurs] / occurrences[occurs]
    metrics = _accuracy(right, "") | {"macro_f1": float(f1.mean())}
    if groups is None:
        return metrics
    groups = np.asarray(groups, dtype=str)
    if groups.shape != right.shape:
        raise ValueError(
            "There must be one group per target. Received: groups "
            f"{groups.shape}, targets {right.shape}. Give '' where there is none."
        )
    for group in sorted(set(groups.tolist()) - {""}):
        metrics |= _accuracy(right[groups == group], f"/{group}")
    return metrics


def _accuracy(right: np.ndarray, suffix: str) -> dict[str, float]:
    low, high = wilson_interval(int(right.sum()), right.size)
    return {
        f"accuracy{suffix}": float(right.mean()),
        f"accuracy_low{suffix}": low,
        f"accuracy_high{suffix}": high,
        f"examples{suffix}": right.size,
    }


def majority_floor(
    train_targets: Sequence[Hashable], targets: Sequence[Hashable]
) -> float:
    """Accuracy of always giving the most frequent training answer.

    Args:
        train_targets: Answers to learn from: class numbers or strings.
        targets: Answers to be right about.

    Returns:
        The accuracy.

    Raises:
        ValueError: If either is empty.

    Example:
        >>> kmmft.evaluation.majority_floor(["no", "yes", "yes"], ["yes", "no"])
        0.5
    """
    _check_answers(train_targets, targets)
    (majority, _), *_ = collections.Counter(train_targets).most_common(1)
    return sum(target == majority for target in targets) / len(targets)


def question_only_floor(
    train_questions: Sequence[str],
    train_answers: Sequence[Hashable],
    questions: Sequence[str],
    answers: Sequence[Hashable],
) -> float:
    """Accuracy of answering without looking at the picture.

    Each question gets its most frequent training answer, and a question that was not
    trained on gets the most frequent answer of all. A model that is no better than
    this has learnt nothing from the images.

    Args:
        train_questions: Questions to learn from.
        train_answers: Their answers: class numbers or strings.
        questions: Questions to answer.
        answers: Their right answers.

    Returns:
        The accuracy.

    Raises:
        ValueError: If either set is empty, or the lengths differ.

    Example:
        >>> kmmft.evaluation.question_only_floor(
        ...     ["what colour?", "what colour?", "is it red?"],
        ...     ["red", "red", "yes"],
        ...     ["what colour?", "is it blue?"],
        ...     ["red", "no"],
        ... )
        0.5
    """
    _check_answers(train_answers, answers)
    if len(train_questions) != len(train_answers) or len(questions) != len(answers):
        raise ValueError(
            "There must be one answer per question. Received: "
            f"{len(train_questions)} training questions, {len(train_answers)} answers; "
            f"{len(questions)} questions, {len(answers)} answers. Pass equal lists."
        )
    by_question = collections.defaultdict(collections.Counter)
    for question, answer in zip(train_questions, train_answers, strict=True):
        by_question[question][answer] += 1
    unseen = collections.Counter(train_answers)
    right = 0
    for question, answer in zip(questions, answers, strict=True):
        counts = by_question.get(question, unseen)
        right += counts.most_common(1)[0][0] == answer
    return right / len(answers)


def _check_answers(train: Sequence, test: Sequence) -> None:
    if not len(train) or not len(test):
        raise ValueError(
            "A floor needs training answers and test answers. Received: "
            f"{len(train)} and {len(test)}. Pass at least one of each."
        )
