"""The loss of SigLIP."""

import keras
import tensorflow as tf

from kmmft.losses.contrastive_loss import ContrastiveLoss


@keras.saving.register_keras_serializable("kmmft")
class SigLIP(ContrastiveLoss):
    """Sigmoid cross-entropy of every query with every candidate.

    Each pair is judged alone, so that small batches suffer less than with
    `InfoNCE`, and several positives of one query cost nothing. Needs a trained
    bias: nearly all pairs are negatives, and it starts at their odds. The two
    directions have the same total where neither tower has hard negatives.

    Args:
        same_group: What other candidates of the query's group are: `"positive"`,
            or `"ignore"`, neither positive nor negative.
        chunk_size: Queries at a time; see `ContrastiveLoss`.

    Call arguments:
        y_true: int tensor `(batch,)` of groups; `np.arange(batch)` for none.
        y_pred: float tensor `(batch, towers, dim)`, or a dict or sequence of
            `(batch, dim)`.

    Returns:
        float32 scalar: the sum over candidates, the mean over queries.

    Example:
        >>> images, texts = np.eye(2), np.array([[1.0, 0.0], [1.0, 1.0]])
        >>> loss = kmmft.losses.SigLIP().per_pair([images, texts])
        >>> round(float(np.mean(loss)), 4)
        1.8631

    References:
        - [Zhai et al., 2023](https://arxiv.org/abs/2303.15343), algorithm 1.
    """

    symmetric = True
    needs_logit_bias = True
    initial_logit_scale = 10.0
    initial_logit_bias = -10.0

    def __init__(
        self,
        same_group: str = "positive",
        chunk_size: int | None = None,
        name: str = "siglip",
        **kwargs,
    ):
        super().__init__(same_group, chunk_size, name=name, **kwargs)

    def rows(self, similarity, positive, valid, *, logit_scale, logit_bias, **kwargs):
        logits = logit_scale * similarity + logit_bias
        losses = tf.nn.softplus(tf.where(positive, -logits, logits))
        return tf.reduce_sum(tf.where(valid, losses, 0.0), axis=1)
