"""How well a coca's vectors of images and texts find each other."""

import numpy as np

import kmmft

from .settings import Config


def compare(
    config: Config, source: kmmft.data.RecordSource, model: kmmft.models.CoCa
) -> dict[str, float]:
    """Retrieval among the test split."""
    evaluator = kmmft.evaluation.RetrievalEvaluator.with_ks_that_fit(
        source, "test", max_bad_fraction=config.max_bad_fraction
    )
    encoded = evaluator.encode(model)
    return {**evaluator.metrics(encoded), "own_caption": own_caption(encoded)}


def own_caption(encoded: kmmft.evaluation.RecordVectors) -> float:
    """Share of images whose nearest among all different captions is one of their own.

    Recall looks for a record, and cannot tell apart those with the same caption.
    """
    texts = np.array(encoded.texts["text"])
    _, first, number = np.unique(texts, return_index=True, return_inverse=True)
    cosines = encoded.vectors["image"] @ encoded.vectors["text"][first].T
    own = set(zip(encoded.record_of["text"].tolist(), number.tolist(), strict=True))
    return float(np.mean([pair in own for pair in enumerate(cosines.argmax(1))]))
