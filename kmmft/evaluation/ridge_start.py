"""Contrastive fine-tuning that begins where ridge regression ends."""

import keras
import numpy as np

from kmmft.evaluation.ridge_baseline import PENALTIES, PairedVectors, ridge_maps
from kmmft.layers import ProjectionHead
from kmmft.metrics import two_way_retrieval, unit_vectors


def start_from_ridge(
    model: keras.Model, train: PairedVectors, validation: PairedVectors
) -> float:
    """Sets a dual encoder's linear heads by ridge regression from image to text.

    A head that begins at random sends noise through the encoders and spoils what they
    know; one that is fitted first does not (LP-FT). The text head becomes the identity
    less the mean text vector, the image head the regression to that.

    Args:
        model: `DualEncoder` whose modalities `image` and `text` have linear
            `ProjectionHead`s with bias, as wide as the text encoder's vectors.
        train: Vectors of the encoders as they are, where the map is fitted.
        validation: Likewise, where its penalty is chosen.

    Returns:
        The mean recall on `validation` at which fine-tuning begins.

    Raises:
        ValueError: If the heads are of another kind.

    References:
        - [Kumar et al., 2022](https://arxiv.org/abs/2202.10054), section 3.4.
    """
    image_head, text_head = _heads(model, train.texts.shape[1])
    texts = unit_vectors("texts", train.texts)
    mean = texts.mean(axis=0)
    images = train.images[train.image_of_text]
    # The penalties are in units of vectors of length 1.
    size = float(np.mean(np.sum(np.square(images), axis=1)))
    maps = ridge_maps(images, texts - mean, [size * p for p in PENALTIES])
    centred = unit_vectors("texts", validation.texts) - mean

    def recall(ridge) -> float:
        found = two_way_retrieval(
            ridge(validation.images), centred, validation.image_of_text, ks=(1, 5, 10)
        )
        return found["mean_recall"]

    best = max(maps, key=recall)
    image_head.set_weights([best.weights, best.offset])
    # The head takes the encoder's vector, whose length need not be 1.
    length = float(np.mean(np.linalg.norm(train.texts, axis=1)))
    text_head.set_weights([np.eye(len(mean)), -mean * length])
    return recall(best)


def _heads(model: keras.Model, width: int) -> list[keras.layers.Layer]:
    heads = [model.projections.get(modality) for modality in ("image", "text")]
    for head in heads:
        is_linear = isinstance(head, ProjectionHead) and not head.hidden_dims
        if not is_linear or not head.use_bias or head.output_dim != width:
            raise ValueError(
                "A start from ridge regression needs linear heads with bias, "
                f"{width} wide as the text encoder's vectors. Received: "
                f"{getattr(model, 'projections', None)}."
            )
    return [head.output_projection for head in heads]
