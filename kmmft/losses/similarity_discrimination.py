"""Pairs together, strangers apart, by cosine alone."""

import keras
import tensorflow as tf

from kmmft.losses.contrastive_loss import ContrastiveLoss
from kmmft.losses.masked_rows import mean_where


@keras.saving.register_keras_serializable("kmmft")
class SimilarityDiscrimination(ContrastiveLoss):
    """`weight` * similarity loss + (1 - `weight`) * discrimination loss.

    The similarity loss is the mean of 1 - cosine over each query's positives, the
    discrimination loss the mean of max(0, cosine - `margin`) over its negatives (0
    without any). Uses neither temperature nor softmax, so batches may be small; a
    schedule can shift the stress from one loss to the other.

    Args:
        weight: λ from 0 to 1, or a `LearningRateSchedule` of the training step.
        margin: Negatives below this cosine are far enough.
        same_group: What other candidates of the query's group are: `"positive"`,
            or `"ignore"`, neither positive nor negative.
        chunk_size: Queries at a time; see `ContrastiveLoss`.

    Call arguments:
        y_true: int tensor `(batch,)` of groups; `np.arange(batch)` for none.
        y_pred: float tensor `(batch, towers, dim)`, or a dict or sequence of
            `(batch, dim)`.

    Returns:
        float32 scalar.

    Raises:
        ValueError: If `weight` is not from 0 to 1, `margin` not from -1 to below 1,
            or `weight` is a schedule and no `step` is given.

    Example:
        >>> images, texts = np.eye(2), np.array([[1.0, 0.0], [1.0, 1.0]])
        >>> loss = kmmft.losses.SimilarityDiscrimination(weight=0.5)
        >>> round(float(loss(np.arange(2), [images, texts])), 4)
        0.25

    References:
        - [Hadsell et al., 2006](https://doi.org/10.1109/CVPR.2006.100) (attracting
          pairs, repelling others up to a margin); with cosines as in PyTorch's
          `CosineEmbeddingLoss`.
    """

    def __init__(
        self,
        weight: float | keras.optimizers.schedules.LearningRateSchedule = 0.5,
        margin: float = 0.0,
        same_group: str = "positive",
        chunk_size: int | None = None,
        name: str = "similarity_discrimination",
        **kwargs,
    ):
        super().__init__(same_group, chunk_size, name=name, **kwargs)
        if isinstance(weight, int | float) and not 0 <= weight <= 1:
            raise ValueError(f"`weight` must be from 0 to 1. Received: {weight}")
        if not -1 <= margin < 1:
            raise ValueError(
                f"`margin` must be a cosine from -1 to below 1. Received: {margin}"
            )
        self.weight = weight
        self.margin = margin

    def rows(self, similarity, positive, valid, *, step, **kwargs):
        weight = self._weight_at(step)
        attraction = mean_where(positive, 1.0 - similarity)
        repulsion = mean_where(valid & ~positive, tf.nn.relu(similarity - self.margin))
        return weight * attraction + (1.0 - weight) * repulsion

    def _weight_at(self, step: tf.Tensor | None):
        if not callable(self.weight):
            return self.weight
        if step is None:
            raise ValueError(
                "A scheduled `weight` needs the training step. Received: step=None. "
                "Call `per_pair(..., step=step)`, or train a "
                "`kmmft.models.DualEncoder`"
            )
        return tf.cast(self.weight(step), tf.float32)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "weight": keras.saving.serialize_keras_object(self.weight),
            "margin": self.margin,
        }

    @classmethod
    def from_config(cls, config: dict):
        weight = keras.saving.deserialize_keras_object(config["weight"])
        return cls(**{**config, "weight": weight})
