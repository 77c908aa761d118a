"""All metrics of generated captions at once."""

from collections.abc import Callable, Sequence

from kmmft.metrics.bleu import bleu
from kmmft.metrics.caption_tokens import caption_tokens
from kmmft.metrics.cider import cider_d
from kmmft.metrics.meteor import meteor
from kmmft.metrics.rouge import rouge_l


def caption_metrics(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    tokenize: Callable[[str], list[str]] = caption_tokens,
) -> dict[str, float]:
    """BLEU-1 and BLEU-4, ROUGE-L, METEOR (equal words and stems) and CIDEr-D.

    Args:
        predictions: One text an example.
        references: One or more texts an example. At least two examples.
        tokenize: Splits a text into words.

    Returns:
        dict: `bleu_1`, `bleu_4`, `rouge_l`, `meteor` in [0, 1], `cider_d` in [0, 10].

    Raises:
        ValueError: As `kmmft.metrics.texts.check_texts` and `cider_d`.
        ImportError: Without `pip install kmmft[text_metrics]`.

    Example:
        >>> references = [["a red cat on a mat"], ["a blue dog in a box"]]
        >>> kmmft.metrics.caption_metrics([r[0] for r in references], references)
        {'bleu_1': 1.0, 'bleu_4': 1.0, 'rouge_l': 1.0, 'meteor': ..., 'cider_d': 10.0}
    """
    return {
        "bleu_1": bleu(predictions, references, 1, tokenize),
        "bleu_4": bleu(predictions, references, 4, tokenize),
        "rouge_l": rouge_l(predictions, references, tokenize),
        "meteor": meteor(predictions, references, tokenize),
        "cider_d": cider_d(predictions, references, tokenize),
    }
