"""Cross-entropy of a query's next thing among those of the batch."""

import tensorflow as tf

from kmmft.losses.embeddings import Embeddings
from kmmft.losses.masked_rows import log_softmax


def sampled_softmax(
    queries: Embeddings,
    candidates: Embeddings,
    logit_scale: float | tf.Tensor,
    log_frequency: tf.Tensor | None = None,
) -> tf.Tensor:
    """The loss of each query's own candidate among the batch's, frequency corrected.

    For recommendation: queries are users, candidates the items that they chose. A
    frequent item is a negative of many users, only because it is in many batches;
    its logit, less the logarithm of how often a place of a batch holds it, estimates
    the softmax over all items. Other places with the query's own item (the same
    `group`) are left out. Only one direction counts, from users to items.

    Args:
        queries: `Embeddings` of any rows of a batch; `group` is the number of the
            item that each chose.
        candidates: `Embeddings` of all rows of the batch, likewise.
        logit_scale: Factor on the cosines, the inverse temperature.
        log_frequency: float tensor `(candidates,)`, logarithms of the items' shares of
            the training examples; `None` for no correction.

    Returns:
        float32 tensor `(queries,)`.

    Example:
        >>> users = kmmft.losses.Embeddings.from_vectors(np.eye(2), [7, 9])
        >>> items = kmmft.losses.Embeddings.from_vectors(np.eye(2), [7, 9])
        >>> often = np.log([0.5, 0.25])
        >>> kmmft.losses.sampled_softmax(users, items, 1.0, often).numpy().round(4)
        array([0.5514, 0.1688], dtype=float32)

    References:
        - [Yi et al., 2019](https://doi.org/10.1145/3298689.3346996), eq. 3-5.
    """
    logits = tf.cast(logit_scale, tf.float32) * tf.matmul(
        tf.cast(queries.vectors, tf.float32),
        tf.cast(candidates.vectors, tf.float32),
        transpose_b=True,
    )
    if log_frequency is not None:
        logits -= tf.cast(log_frequency, tf.float32)
    own = queries.index[:, None] == candidates.index
    same = queries.group[:, None] == candidates.group
    log_probability = log_softmax(logits, own | ~same)
    return -tf.reduce_sum(tf.where(own, log_probability, 0.0), axis=1)
