"""All metrics of texts written from texts: translations, summaries, replies."""

from collections.abc import Sequence

import numpy as np

from kmmft.metrics.texts import check_texts, import_text_metrics

_ROUGE = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}


def text_to_text_metrics(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    bleu_tokenizer: str = "13a",
) -> dict[str, float]:
    """BLEU and chrF by sacrebleu, ROUGE by rouge-score, each as published by it.

    The texts are compared as they are, case and signs included, save that rouge-score
    takes them in lower case and knows the letters a to z and digits alone: for texts in
    other letters ROUGE says nothing, and chrF is to be trusted.

    Args:
        predictions: One text an example.
        references: One or more texts an example.
        bleu_tokenizer: sacrebleu's, such as `"13a"`; `"zh"`, `"ja-mecab"` and
            `"char"` for languages without spaces.

    Returns:
        dict of numbers in [0, 1]: corpus `bleu` and `chrf` (sacrebleu writes them times
        100), the means of `rouge_1`, `rouge_2` and `rouge_l` (F1, best reference), and
        `exact_match`, the share of texts that equal a reference.

    Raises:
        ValueError: As `kmmft.metrics.texts.check_texts`, or if sacrebleu has no such
            tokenizer.
        ImportError: Without `pip install kmmft[text_metrics]`.

    Example:
        >>> references = [["Die Katze liegt auf der Matte.", "Eine Katze liegt da."]]
        >>> scores = kmmft.metrics.text_to_text_metrics(
        ...     ["Die Katze liegt auf einer Matte."], references)
        >>> round(scores["bleu"], 3), round(scores["rouge_2"], 3)
        (0.489, 0.6)

    References:
        - [Post, 2018](https://arxiv.org/abs/1804.08771) (sacrebleu).
        - [Popović, 2015](https://aclanthology.org/W15-3049/) (chrF).
        - [Lin, 2004](https://aclanthology.org/W04-1013/) (ROUGE).
    """
    predictions, references = check_texts(predictions, references)
    sacrebleu = import_text_metrics("sacrebleu.metrics")
    # sacrebleu wants the first references of all examples, then the second ones, ...
    streams = [
        [texts[i] if i < len(texts) else None for texts in references]
        for i in range(max(map(len, references)))
    ]
    if bleu_tokenizer not in sacrebleu.BLEU.TOKENIZERS:
        raise ValueError(
            "`bleu_tokenizer` must be one of sacrebleu's, "
            f"{', '.join(sacrebleu.BLEU.TOKENIZERS)}. Received: {bleu_tokenizer!r}."
        )
    bleu = sacrebleu.BLEU(tokenize=bleu_tokenizer)
    scores = {
        "bleu": bleu.corpus_score(predictions, streams).score / 100,
        "chrf": sacrebleu.CHRF().corpus_score(predictions, streams).score / 100,
    }
    scorer = import_text_metrics("rouge_score.rouge_scorer").RougeScorer(
        list(_ROUGE.values())
    )
    pairs = list(zip(predictions, references, strict=True))
    rows = [scorer.score_multi(texts, prediction) for prediction, texts in pairs]
    for name, key in _ROUGE.items():
        scores[name] = float(np.mean([row[key].fmeasure for row in rows]))
    equal = [prediction in texts for prediction, texts in pairs]
    # Rounding may take a perfect score above 1.
    return {name: min(1.0, value) for name, value in scores.items()} | {
        "exact_match": float(np.mean(equal))
    }
