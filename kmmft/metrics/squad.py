"""SQuAD's exact match and F1 of answers, and when it is best to give none."""

import collections
import re
import string
from collections.abc import Sequence

import numpy as np

from kmmft.metrics.texts import check_texts

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_squad_answer(answer: str) -> str:
    """Brings an answer into the form in which SQuAD compares it.

    Small letters, without ASCII's punctuation, articles and superfluous white space.

    Args:
        answer: One answer.

    Returns:
        The answer, normalised.

    Example:
        >>> normalize_squad_answer("The  U.S. Army!")
        'us army'

    References:
        - [Rajpurkar et al., 2016](https://arxiv.org/abs/1606.05250), section 6.1.
    """
    text = answer.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def squad_scores_of_each(
    predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[np.ndarray, np.ndarray]:
    """Exact match and F1 of each question, by its best reference.

    Equal to the official script's. F1 is that of words, as multisets. A question
    without references has no answer, and wants the empty string.

    Args:
        predictions: One answer a question; the empty string for none.
        references: People's answers to each question, none or more.

    Returns:
        Two float64 arrays `(questions,)` in [0, 1].

    Raises:
        ValueError: If there is no question, their numbers differ, or an answer is no
            string.

    Example:
        >>> exact, f1 = squad_scores_of_each(["the red cat", ""], [["red"], []])
        >>> exact, f1.round(3)
        (array([0., 1.]), array([0.667, 1.   ]))

    References:
        - [Rajpurkar et al., 2018](https://arxiv.org/abs/1806.03822), section 4, and
          the official script for SQuAD 2.0.
    """
    predictions, references = check_texts(predictions, references, may_lack=True)
    exact, f1 = [], []
    for prediction, answers in zip(predictions, references, strict=True):
        given = normalize_squad_answer(prediction)
        wanted = [normalize_squad_answer(answer) for answer in answers]
        # Answers of articles and signs alone are none.
        wanted = [answer for answer in wanted if answer] or [""]
        exact.append(float(given in wanted))
        f1.append(max(_word_f1(given.split(), answer.split()) for answer in wanted))
    return np.array(exact), np.array(f1)


def squad_metrics(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    no_answer_probabilities: Sequence[float] | None = None,
    threshold: float = 1.0,
) -> dict[str, float]:
    """Mean exact match and F1 of all questions, and of those with and without answer.

    Args:
        predictions: The best answer to each question.
        references: People's answers to each question, none or more.
        no_answer_probabilities: How likely each question has no answer. Default: 0.
        threshold: Questions with a higher probability count as not answered.

    Returns:
        A flat dict: `exact_match`, `f1` and `questions`; where there are such
        questions, each also with `/has_answer` and `/no_answer`.

    Raises:
        ValueError: If there is no question, their numbers differ, or an answer is no
            string.

    Example:
        >>> squad_metrics(["cat", "dog"], [["cat"], []])["exact_match"]
        0.5
        >>> squad_metrics(["cat", "dog"], [["cat"], []], [0.1, 0.8], 0.5)["f1"]
        1.0

    References:
        - As `squad_scores_of_each`.
    """
    scores = dict(
        zip(
            ("exact_match", "f1"),
            squad_scores_of_each(predictions, references),
            strict=True,
        )
    )
    answerable = np.array([bool(answers) for answers in references])
    if no_answer_probabilities is not None:
        silent = _probabilities(no_answer_probabilities, answerable) > threshold
        scores = {
            name: np.where(silent, ~answerable, each) for name, each in scores.items()
        }
    metrics = {name: float(each.mean()) for name, each in scores.items()}
    metrics["questions"] = len(answerable)
    for kind, rows in (("has_answer", answerable), ("no_answer", ~answerable)):
        if rows.any():
            metrics |= {
                f"{name}/{kind}": float(each[rows].mean())
                for name, each in scores.items()
            }
            metrics[f"questions/{kind}"] = int(rows.sum())
    return metrics


def best_no_answer_threshold(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    no_answer_probabilities: Sequence[float],
) -> tuple[float, float]:
    """The threshold with the best F1; to be found on validation questions.

    Args:
        predictions: As for `squad_metrics`, and so are the others.
        references: People's answers.
        no_answer_probabilities: How likely each question has no answer.

    Returns:
        The threshold, and the F1 that it gives. Of equals the lowest; 0 where it is
        best never to answer.

    Raises:
        ValueError: As `squad_metrics`.

    Example:
        >>> best_no_answer_threshold(["cat", "dog"], [["cat"], []], [0.1, 0.8])
        (0.1, 1.0)

    References:
        - The official script for SQuAD 2.0, `find_best_thresh`.
    """
    _, f1 = squad_scores_of_each(predictions, references)
    answerable = np.array([bool(answers) for answers in references])
    probabilities = _probabilities(no_answer_probabilities, answerable)
    # What is gained where one more question is answered.
    answered = np.array([bool(prediction) for prediction in predictions])
    gain = np.where(answerable, f1, -answered.astype(float))
    order = np.argsort(probabilities, kind="stable")
    totals = (~answerable).sum() + np.concatenate([[0.0], np.cumsum(gain[order])])
    best = int(totals.argmax())
    threshold = float(probabilities[order[best - 1]]) if best else 0.0
    return threshold, float(totals[best] / len(f1))


def _word_f1(given: list[str], wanted: list[str]) -> float:
    if not given or not wanted:
        return float(given == wanted)
    same = (collections.Counter(given) & collections.Counter(wanted)).total()
    return 2 * same / (len(given) + len(wanted))


def _probabilities(values: Sequence[float], answerable: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.shape != answerable.shape or np.isnan(values).any():
        raise ValueError(
            "Every question must have a probability. Received: shape "
            f"{values.shape} for {len(answerable)} questions, or NaN."
        )
    return values
