"""METEOR: generated texts aligned with their references, word by word."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kmmft.metrics.caption_tokens import caption_tokens
from kmmft.metrics.texts import check_texts, import_text_metrics


class _NoSynonyms:
    """Stands where NLTK looks words up in WordNet."""

    def synsets(self, word: str) -> list:
        return []


def meteor(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    tokenize: Callable[[str], list[str]] = caption_tokens,
    wordnet: Any = None,
) -> float:
    """Mean METEOR of 2007, by NLTK; by default of equal words and equal stems alone.

    Matched words give precision and recall (recall counts nine times as much), and a
    penalty for the number of pieces in which they stand. Without `wordnet` synonyms do
    not match, which needs no download. COCO's evaluation runs METEOR 1.5 in Java, whose
    paraphrases and weights are others: its numbers are not comparable.

    Args:
        predictions: One text an example.
        references: One or more texts an example; the best one counts.
        tokenize: Splits a text into words.
        wordnet: NLTK's WordNet, `nltk.corpus.wordnet`, where its data are installed,
            to match synonyms too.

    Returns:
        The mean, in [0, 1].

    Raises:
        ValueError: As `kmmft.metrics.texts.check_texts`.
        ImportError: Without `pip install kmmft[text_metrics]`.

    Example:
        >>> round(kmmft.metrics.meteor(["two dogs ran"], [["a dog ran"]]), 4)
        0.625

    References:
        - [Lavie and Agarwal, 2007](https://aclanthology.org/W07-0734/).
    """
    predictions, references = check_texts(predictions, references)
    score = import_text_metrics("nltk.translate.meteor_score").meteor_score
    scores = [
        score(
            [tokenize(text) for text in texts],
            tokenize(prediction),
            wordnet=_NoSynonyms() if wordnet is None else wordnet,
        )
        for prediction, texts in zip(predictions, references, strict=True)
    ]
    return float(np.mean(scores))
