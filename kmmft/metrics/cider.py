"""CIDEr-D: generated captions compared with the consensus of several people's."""

import collections
from collections.abc import Callable, Sequence

import numpy as np

from kmmft.metrics.caption_tokens import caption_tokens
from kmmft.metrics.texts import check_texts

MAX_ORDER = 4


class CiderD:
    """CIDEr-D with the rarity of word sequences counted in one set of references.

    A caption is four vectors, of sequences of one to four words, weighted by how rare
    each is among the examples' references. The score is the mean over vectors and
    references of their cosine, where a sequence that is repeated gains nothing and a
    difference in length costs, times 10.

    Args:
        references: One or more texts for each of at least two examples.
        tokenize: Splits a text into words.
        sigma: How many words of difference in length are forgiven.

    Raises:
        ValueError: If there are fewer than two examples, or one without reference.

    Example:
        >>> references = [["a red cat"], ["a blue dog"]]
        >>> cider = kmmft.metrics.CiderD(references)
        >>> cider.scores(["a red cat", "a dog"], references).round(3)
        array([7.5  , 1.743])

    References:
        - [Vedantam et al., 2015](https://arxiv.org/abs/1411.5726), eq. 2 and section
          7 (CIDEr-D).
    """

    def __init__(
        self,
        references: Sequence[Sequence[str]],
        tokenize: Callable[[str], list[str]] = caption_tokens,
        sigma: float = 6.0,
    ):
        _, references = check_texts([""] * len(references), references)
        if len(references) < 2:
            raise ValueError(
                "CIDEr-D tells words that are rare among examples from common ones: it "
                f"needs at least two. Received: {len(references)}."
            )
        self.tokenize = tokenize
        self.sigma = sigma
        self._examples_with = collections.Counter()
        for texts in references:
            grams = set().union(*(self._counts(text) for text in texts))
            self._examples_with.update(grams)
        self._log_examples = np.log(len(references))

    def scores(
        self, predictions: Sequence[str], references: Sequence[Sequence[str]]
    ) -> np.ndarray:
        """Scores each prediction.

        Args:
            predictions: One text an example.
            references: One or more texts an example.

        Returns:
            float64 array `(number,)`, each in [0, 10].

        Raises:
            ValueError: As `kmmft.metrics.texts.check_texts`.
        """
        predictions, references = check_texts(predictions, references)
        return np.array(
            [
                np.mean([self._similarity(text, other) for other in texts])
                for text, texts in zip(predictions, references, strict=True)
            ]
        )

    def _similarity(self, prediction: str, reference: str) -> float:
        counts, others = self._counts(prediction), self._counts(reference)
        grams = list(counts | others)
        weight, other = self._weights(grams, counts), self._weights(grams, others)
        order = np.array([len(gram) - 1 for gram in grams], np.int64)

        def sum_by_order(values):
            return np.bincount(order, values, MAX_ORDER)

        product = sum_by_order(np.minimum(weight, other) * other)
        norms = np.sqrt(sum_by_order(weight**2) * sum_by_order(other**2))
        cosines = np.divide(product, norms, np.zeros(MAX_ORDER), where=norms > 0)
        # Lengths in pairs of words, as in the authors' code.
        longer = _number_of_pairs(counts) - _number_of_pairs(others)
        return 10 * cosines.mean() * np.exp(-(longer**2) / (2 * self.sigma**2))

    def _weights(self, grams: list[tuple], counts: collections.Counter) -> np.ndarray:
        examples = np.array([max(1, self._examples_with[gram]) for gram in grams])
        number = np.array([counts[gram] for gram in grams], np.float64)
        return number * (self._log_examples - np.log(examples))

    def _counts(self, text: str) -> collections.Counter:
        words = self.tokenize(text)
        return collections.Counter(
            tuple(words[start : start + order])
            for order in range(1, MAX_ORDER + 1)
            for start in range(len(words) - order + 1)
        )


def cider_d(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    tokenize: Callable[[str], list[str]] = caption_tokens,
) -> float:
    """Mean CIDEr-D, with rarity counted in these references.

    Args:
        predictions: One text an example.
        references: One or more texts an example.
        tokenize: Splits a text into words.

    Returns:
        The mean, in [0, 10]. Papers often write it times 100, COCO's evaluation as it
        is here.

    Raises:
        ValueError: As `CiderD`.
        ImportError: Without `pip install kmmft[text_metrics]`.

    Example:
        >>> references = [["a red cat"], ["a blue dog"]]
        >>> round(kmmft.metrics.cider_d(["a red cat", "a dog"], references), 3)
        4.622
    """
    predictions, references = check_texts(predictions, references)
    return float(np.mean(CiderD(references, tokenize).scores(predictions, references)))


def _number_of_pairs(counts: collections.Counter) -> int:
    return sum(number for gram, number in counts.items() if len(gram) == 2)
