"""ROUGE-L: the longest common subsequence of generated texts and their references."""

from collections.abc import Callable, Sequence

import numpy as np

from kmmft.metrics.caption_tokens import caption_tokens
from kmmft.metrics.texts import check_texts, import_text_metrics


def rouge_l(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    tokenize: Callable[[str], list[str]] = caption_tokens,
) -> float:
    """Mean ROUGE-L (F1), by rouge-score.

    An example's value is that of its best reference. (COCO's own evaluation takes the
    best precision and the best recall of all references, and weighs recall more; its
    numbers are a little higher.)

    Args:
        predictions: One text an example.
        references: One or more texts an example.
        tokenize: Splits a text into words. rouge-score's own keeps only the letters
            a to z and digits.

    Returns:
        The mean, in [0, 1].

    Raises:
        ValueError: As `kmmft.metrics.texts.check_texts`.
        ImportError: Without `pip install kmmft[text_metrics]`.

    Example:
        >>> references = [["a red cat on a mat", "the cat on the mat"], ["a blue dog"]]
        >>> predictions = ["a red cat on the mat", "a dog"]
        >>> round(kmmft.metrics.rouge_l(predictions, references), 4)
        0.8167

    References:
        - [Lin, 2004](https://aclanthology.org/W04-1013/), section 3.
    """
    predictions, references = check_texts(predictions, references)
    scorer = import_text_metrics("rouge_score.rouge_scorer").RougeScorer(
        ["rougeL"], tokenizer=_Tokenizer(tokenize)
    )
    scores = [
        scorer.score_multi(texts, prediction)["rougeL"].fmeasure
        for prediction, texts in zip(predictions, references, strict=True)
    ]
    return float(np.mean(scores))


class _Tokenizer:
    """A function in the form that rouge-score takes."""

    def __init__(self, tokenize: Callable[[str], list[str]]):
        self.tokenize = tokenize
