"""Vectors whose first numbers alone are good vectors."""

import dataclasses
from collections.abc import Sequence

import keras

from kmmft.losses.contrastive_loss import ContrastiveLoss
from kmmft.losses.embeddings import Embeddings, unit_length
from kmmft.losses.wrapped_loss import WrappedLoss


@keras.saving.register_keras_serializable("kmmft")
class Matryoshka(WrappedLoss):
    """Another contrastive loss on the first `dims` numbers of each vector, summed.

    Trains one model whose vectors can be cut short later: a smaller, faster index
    for little loss of recall. Cut vectors are brought back to length 1. Name the
    full width among `dims` too.

    Args:
        loss: A `ContrastiveLoss`.
        dims: Widths to train, such as `(256, 128, 64)`.
        weights: One weight per width; all 1 by default.

    Call arguments:
        y_true: int tensor `(batch,)` of groups; `np.arange(batch)` for none.
        y_pred: float tensor `(batch, towers, dim)`, or a dict or sequence of
            `(batch, dim)`.

    Returns:
        float32 scalar.

    Raises:
        ValueError: If `dims` is empty, not positive or wider than the vectors, or
            `weights` are negative or not as many as `dims`.

    Example:
        >>> vectors = [np.ones((2, 4)), np.ones((2, 4))]
        >>> loss = kmmft.losses.Matryoshka(kmmft.losses.InfoNCE(), dims=(4, 2))
        >>> np.round(loss.per_pair(vectors).numpy(), 4)  # 2 log(2)
        array([1.3863, 1.3863], dtype=float32)

    References:
        - [Kusupati et al., 2022](https://arxiv.org/abs/2205.13147), eq. 1.
    """

    def __init__(
        self,
        loss: ContrastiveLoss,
        dims: Sequence[int],
        weights: Sequence[float] | None = None,
        name: str = "matryoshka",
        **kwargs,
    ):
        super().__init__(loss, name=name, **kwargs)
        if not dims or min(dims) < 1:
            raise ValueError(
                f"`dims` must be one or more positive widths. Received: {dims}"
            )
        if weights is not None and (len(weights) != len(dims) or min(weights) < 0):
            raise ValueError(
                "`weights` must be one number for each of `dims`, none negative. "
                f"Received: weights={weights}, dims={dims}"
            )
        self.dims = tuple(dims)
        self.weights = None if weights is None else tuple(weights)

    def directed(self, queries, candidates, **kwargs):
        width = queries.vectors.shape[-1]
        if max(self.dims) > width:
            raise ValueError(
                f"`dims` must not exceed the vectors' width, {width}. "
                f"Received: dims={self.dims}. Widen the projection or drop that width"
            )
        return sum(
            weight
            * self.loss.directed(_cut(queries, dim), _cut(candidates, dim), **kwargs)
            for dim, weight in zip(
                self.dims, self.weights or [1.0] * len(self.dims), strict=True
            )
        )

    def get_config(self) -> dict:
        return {**super().get_config(), "dims": self.dims, "weights": self.weights}


def _cut(embeddings: Embeddings, dim: int) -> Embeddings:
    vectors = unit_length(embeddings.vectors[:, :dim])
    return dataclasses.replace(embeddings, vectors=vectors)
