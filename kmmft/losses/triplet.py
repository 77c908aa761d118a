"""Own candidate nearer than the others, by a margin."""

import keras
import tensorflow as tf

from kmmft.losses.contrastive_loss import ContrastiveLoss

NEGATIVES = ("hardest", "semi_hard", "all")
_BELOW_ANY_COSINE, _ABOVE_ANY_COSINE = -2.0, 2.0


@keras.saving.register_keras_serializable("kmmft")
class Triplet(ContrastiveLoss):
    """Hinge: own candidate must be nearer than the negatives by a margin.

    Compares cosines; scale and bias are unused. The query's own candidate is its
    one positive, others of its group are left out. A query without negatives costs
    nothing.

    Args:
        margin: By how much the own candidate's cosine must exceed a negative's.
        negatives: `"hardest"`, the nearest negative (VSE++); `"semi_hard"`, the
            nearest that is farther than the own candidate or, where there is none,
            the farthest of all (FaceNet); `"all"`, the sum over all negatives.
        chunk_size: Queries at a time; see `ContrastiveLoss`.

    Call arguments:
        y_true: int tensor `(batch,)` of groups; `np.arange(batch)` for none.
        y_pred: float tensor `(batch, towers, dim)`, or a dict or sequence of
            `(batch, dim)`.

    Returns:
        float32 scalar: the mean over queries and directions.

    Raises:
        ValueError: If `margin` is not positive or `negatives` none of the above.

    Example:
        >>> images, texts = np.eye(2), np.array([[1.0, 0.0], [1.0, 1.0]])
        >>> loss = kmmft.losses.Triplet(margin=0.2).per_pair([images, texts])
        >>> np.round(loss.numpy(), 4)
        array([0. , 0.1], dtype=float32)

    References:
        - [Faghri et al., 2017](https://arxiv.org/abs/1707.05612), eq. 6 (hardest)
          and 5 (all).
        - [Schroff et al., 2015](https://arxiv.org/abs/1503.03832), section 3.2
          (semi-hard).
    """

    def __init__(
        self,
        margin: float = 0.2,
        negatives: str = "hardest",
        chunk_size: int | None = None,
        name: str = "triplet",
        **kwargs,
    ):
        super().__init__("ignore", chunk_size, name=name, **kwargs)
        if margin <= 0:
            raise ValueError(f"`margin` must be positive. Received: {margin}")
        if negatives not in NEGATIVES:
            raise ValueError(
                f"`negatives` must be one of {NEGATIVES}. Received: {negatives!r}"
            )
        self.margin = margin
        self.negatives = negatives

    def rows(self, similarity, positive, valid, **kwargs):
        own = tf.reduce_sum(tf.where(positive, similarity, 0.0), axis=1)
        others = valid & ~positive
        if self.negatives == "all":
            hinges = tf.nn.relu(self.margin - own[:, None] + similarity)
            return tf.reduce_sum(tf.where(others, hinges, 0.0), axis=1)
        negative = _nearest(similarity, others)
        if self.negatives == "semi_hard":
            semi_hard = others & (similarity < own[:, None])
            farthest = tf.where(others, similarity, _ABOVE_ANY_COSINE)
            negative = tf.where(
                tf.reduce_any(semi_hard, axis=1),
                _nearest(similarity, semi_hard),
                tf.reduce_min(farthest, axis=1),
            )
        hinge = tf.nn.relu(self.margin - own + negative)
        return tf.where(tf.reduce_any(others, axis=1), hinge, 0.0)

    def get_config(self) -> dict:
        config = super().get_config()
        del config["same_group"]
        return {**config, "margin": self.margin, "negatives": self.negatives}


def _nearest(similarity: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    return tf.reduce_max(tf.where(mask, similarity, _BELOW_ANY_COSINE), axis=1)
