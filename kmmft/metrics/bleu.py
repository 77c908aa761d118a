"""BLEU: how many word sequences of generated texts are in their references."""

from collections.abc import Callable, Sequence

from kmmft.metrics.caption_tokens import caption_tokens
from kmmft.metrics.texts import check_texts, import_text_metrics


def bleu(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    max_order: int = 4,
    tokenize: Callable[[str], list[str]] = caption_tokens,
) -> float:
    """Corpus BLEU, by sacrebleu.

    Counts are added up over the corpus before the geometric mean, without smoothing: 0
    if no sequence of `max_order` words is right anywhere. An example may have any
    number of references; the nearest one in length counts for the brevity penalty.

    Args:
        predictions: One text an example.
        references: One or more texts an example.
        max_order: Longest word sequence.
        tokenize: Splits a text into words.

    Returns:
        BLEU in [0, 1] (sacrebleu writes it times 100).

    Raises:
        ValueError: As `kmmft.metrics.texts.check_texts`, or if `max_order` < 1.
        ImportError: Without `pip install kmmft[text_metrics]`.

    Example:
        >>> references = [["a red cat on a mat", "the cat on the mat"], ["a blue dog"]]
        >>> round(kmmft.metrics.bleu(["a red cat on the mat", "a dog"], references), 4)
        0.7619

    References:
        - [Papineni et al., 2002](https://aclanthology.org/P02-1040/).
        - [Post, 2018](https://arxiv.org/abs/1804.08771) (sacrebleu).
    """
    predictions, references = check_texts(predictions, references)
    if max_order < 1:
        raise ValueError(f"`max_order` must be positive. Received: {max_order}.")
    metrics = import_text_metrics("sacrebleu.metrics")
    scorer = metrics.BLEU(
        tokenize="none", smooth_method="none", max_ngram_order=max_order, force=True
    )

    def words(text):
        return " ".join(tokenize(text))

    most = max(map(len, references))
    # sacrebleu wants the first references of all examples, then the second ones, ...
    streams = [
        [words(texts[i]) if i < len(texts) else None for texts in references]
        for i in range(most)
    ]
    score = scorer.corpus_score([words(p) for p in predictions], streams).score
    return min(1.0, score / 100)  # rounding may take it above
