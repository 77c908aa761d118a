"""CIDEr-D as a reward of texts while a model writes them."""

from collections.abc import Mapping, Sequence

import numpy as np

from kmmft.metrics.caption_tokens import caption_tokens
from kmmft.metrics.cider import CiderD

# No text has it: it marks where one ends.
_END = "\x03"


class CiderReward:
    """CIDEr-D of written texts beside their examples' references, known by numbers.

    Rarity of words is counted in all references. The end of a text is a word too, for
    texts that came to it: otherwise a model learns to leave out the end of a sentence,
    whose words ("with a") are common and earn little.

    Args:
        references: One or more texts by the key of each of at least two examples.

    Raises:
        ValueError: As `CiderD`; when called, if a key is unknown.
        ImportError: Without `pip install kmmft[text_metrics]`.

    Example:
        >>> reward = kmmft.metrics.CiderReward({7: ["a red cat"], 8: ["a blue dog"]})
        >>> reward(["a red cat", "a red cat"], [True, False], [7, 7]).round(2)
        array([10.  ,  6.22])

    References:
        - [Rennie et al., 2017](https://arxiv.org/abs/1612.00563), section 5 (CIDEr as
          reward).
        - [Luo, 2020](https://arxiv.org/abs/2003.09971) (the end counts as a word).
    """

    def __init__(self, references: Mapping[int, Sequence[str]]):
        self.references = {
            key: [text + _END for text in texts] for key, texts in references.items()
        }
        self._cider = CiderD(list(self.references.values()), _words_and_end)

    def __call__(
        self, texts: Sequence[str], ended: Sequence[bool], keys: Sequence[int]
    ) -> np.ndarray:
        """Rewards each text.

        Args:
            texts: One an example.
            ended: Whether each came to its end, and was not cut off.
            keys: The key of each example.

        Returns:
            float64 array `(number,)`, each in [0, 10].
        """
        texts = [
            text + _END if end else text for text, end in zip(texts, ended, strict=True)
        ]
        references = [self._of(int(key)) for key in keys]
        return self._cider.scores(texts, references)

    def _of(self, key: int) -> list[str]:
        if key not in self.references:
            raise ValueError(
                f"Each key must be of an example with references. Received: {key}, of "
                f"none of {len(self.references)} examples. Take the keys of the data "
                "that the references are of."
            )
        return self.references[key]


def _words_and_end(text: str) -> list[str]:
    words = caption_tokens(text.removesuffix(_END))
    return [*words, _END] if text.endswith(_END) else words
