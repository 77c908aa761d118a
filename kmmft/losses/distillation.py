"""Learning from a teacher which candidates are how likely."""

import keras
import tensorflow as tf

from kmmft.losses.contrastive_loss import ContrastiveLoss
from kmmft.losses.embeddings import unit_length
from kmmft.losses.masked_rows import log_softmax
from kmmft.losses.wrapped_loss import WrappedLoss


@keras.saving.register_keras_serializable("kmmft")
class Distillation(WrappedLoss):
    """Another contrastive loss plus `weight` * KL(teacher ‖ student).

    Both distributions are over each query's candidates: softmax of cosines. The
    teacher's vectors may have any length and another width than the student's; they
    come as `Embeddings.teacher`, or as `teachers=` of `per_pair`. Left out are
    candidates that `loss` leaves out, and explicit hard negatives, whose rows of
    `teacher` may be zeros.

    Args:
        loss: A `ContrastiveLoss`.
        weight: Weight of the teacher's part.
        temperature: The teacher's: divides its cosines. CLIP models have 0.01. The
            student has its own, the inverse of the logit scale.

    Call arguments:
        None as a plain Keras loss, which has no place for a teacher: use
        `per_pair`, or train a `kmmft.models.DualEncoder`.

    Returns:
        float32 tensor `(batch,)` from `per_pair`.

    Raises:
        ValueError: If `weight` is negative, `temperature` not positive, or there
            are no teacher's vectors.

    Example:
        >>> student, teacher = [np.ones((2, 4))] * 2, [np.eye(2)] * 2
        >>> loss = kmmft.losses.Distillation(kmmft.losses.InfoNCE(), temperature=1.0)
        >>> np.round(loss.per_pair(student, teachers=teacher).numpy(), 4)
        array([0.8041, 0.8041], dtype=float32)

    References:
        - [Hinton et al., 2015](https://arxiv.org/abs/1503.02531), section 2.
        - [Yang et al., 2023](https://arxiv.org/abs/2307.12732), contrastive
          relational distillation.
    """

    def __init__(
        self,
        loss: ContrastiveLoss,
        weight: float = 1.0,
        temperature: float = 0.01,
        name: str = "distillation",
        **kwargs,
    ):
        super().__init__(loss, name=name, **kwargs)
        if weight < 0 or temperature <= 0:
            raise ValueError(
                "`weight` must not be negative and `temperature` must be positive. "
                f"Received: weight={weight}, temperature={temperature}"
            )
        self.weight = weight
        self.temperature = temperature
        self.symmetric = False  # softmax over a row is not softmax over a column

    def directed(self, queries, candidates, **kwargs):
        if queries.teacher is None or candidates.teacher is None:
            raise ValueError(
                "`Distillation` needs a teacher's vectors. Received: embeddings "
                "without `teacher`. Give `per_pair(..., teachers=...)`, or batches of "
                "a `DualEncoder` with `teacher_<modality>` for every modality"
            )
        divergence = super().directed(queries, candidates, **kwargs)
        return self.loss.directed(queries, candidates, **kwargs) + (
            self.weight * divergence
        )

    def _block(self, queries, candidates, logit_scale, logit_bias, step):
        _, valid = self._masks(queries, candidates)
        valid &= candidates.index >= 0
        student = _cosines(queries.vectors, candidates.vectors) * logit_scale
        teacher = _cosines(
            unit_length(queries.teacher), unit_length(candidates.teacher)
        )
        teacher /= self.temperature
        student = log_softmax(student, valid)
        teacher = log_softmax(tf.stop_gradient(teacher), valid)
        divergence = tf.exp(teacher) * (teacher - student)
        return tf.reduce_sum(tf.where(valid, divergence, 0.0), axis=1)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "weight": self.weight,
            "temperature": self.temperature,
        }


def _cosines(queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
    return tf.matmul(queries, candidates, transpose_b=True)
