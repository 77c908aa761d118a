"""Whether images find their own words, where several have the same."""

import numpy as np

from kmmft.evaluation.record_vectors import RecordVectors


def own_caption_share(encoded: RecordVectors) -> float:
    """Share of images whose nearest among all different captions is one of their own.

    Recall looks for a record, and cannot tell apart those with the same caption.

    Args:
        encoded: Vectors of images, one a record, and of the captions, `text`.

    Returns:
        A number in [0, 1].
    """
    texts = np.array(encoded.texts["text"])
    _, first, number = np.unique(texts, return_index=True, return_inverse=True)
    cosines = encoded.vectors["image"] @ encoded.vectors["text"][first].T
    own = set(zip(encoded.record_of["text"], number, strict=True))
    return float(np.mean([pair in own for pair in enumerate(cosines.argmax(1))]))
