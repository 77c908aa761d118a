"""Of several pictures of a text the one that fits it best."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kmmft.models.dual_encoder import DualEncoder


def best_pictures(
    ranker: DualEncoder, texts: Sequence[str], pictures: np.ndarray
) -> np.ndarray:
    """Keeps of each text's pictures the one whose vector is most like the text's.

    Args:
        ranker: A trained `DualEncoder` with images and texts, of any image size.
        texts: The texts, `(texts,)`.
        pictures: uint8 array `(texts, candidates, height, width, 3)`.

    Returns:
        uint8 array `(texts, height, width, 3)`.

    References:
        - [Ramesh et al., 2021](https://arxiv.org/abs/2102.12092), 2.6 and figure 6.
    """
    candidates = pictures.shape[1]
    flat = pictures.reshape(-1, *pictures.shape[2:])
    # Files, since the ranker may look at pictures of another size.
    files = [tf.io.encode_png(picture).numpy() for picture in flat]
    seen = ranker.encode_image(files).reshape(len(texts), candidates, -1)
    fits = np.einsum("tcd,td->tc", seen, ranker.encode_text(list(texts)))
    return pictures[np.arange(len(texts)), fits.argmax(axis=1)]
