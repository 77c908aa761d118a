"""How well pictures fit texts, by a model that has seen many pairs."""

import numpy as np

from kmmft.metrics.unit_vectors import unit_vectors


def clip_scores(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """CLIPScore of each picture and its text: 2.5 times their cosine, if positive.

    With the vectors of OpenAI's CLIP it is the published score; with those of any
    other `DualEncoder` its numbers compare only with others of the same model. A model
    that chose the pictures must not score them.

    Args:
        images: float array `(number, dim)`, such as of `DualEncoder.encode_image`.
        texts: Likewise, the text of each image.

    Returns:
        float32 array `(number,)` in [0, 2.5].

    Raises:
        ValueError: If the shapes differ, there is no pair, or a vector is not finite.

    Example:
        >>> images = [[3.0, 4.0], [1.0, 0.0]]
        >>> kmmft.metrics.clip_scores(images, [[6.0, 8.0], [-1.0, 0.0]])
        array([2.5, 0. ], dtype=float32)

    References:
        - [Hessel et al., 2021](https://arxiv.org/abs/2104.08718), section 3.
    """
    images, texts = unit_vectors("images", images), unit_vectors("texts", texts)
    if images.shape != texts.shape:
        raise ValueError(
            "Each image must have a text's vector of its own width. Received: images "
            f"of shape {images.shape} and texts of shape {texts.shape}."
        )
    return 2.5 * np.maximum(np.einsum("nd,nd->n", images, texts), 0)
