"""The loss of CLIP."""

import keras

from kmmft.losses.contrastive_loss import ContrastiveLoss
from kmmft.losses.masked_rows import log_softmax, mean_where


@keras.saving.register_keras_serializable("kmmft")
class InfoNCE(ContrastiveLoss):
    """Softmax cross-entropy of each query's own candidate among all candidates.

    The loss of CLIP, and the first to try. Several positives of one query (a
    repeated caption, an image with several captions) share the target equally.

    FLYP, which fine-tunes a classifier with its pretraining loss, is this loss on
    images and captions such as "a photo of a dog". As published, a caption of the
    same class counts as a negative: give no groups. With the label as group it is a
    positive (`same_group="positive"`) or left out (`"ignore"`).

    Args:
        label_smoothing: Share of the target spread over all candidates that count.
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
        ValueError: If `label_smoothing` is not from 0 to below 1.

    Example:
        >>> images, texts = np.eye(2), np.array([[1.0, 0.0], [1.0, 1.0]])
        >>> loss = kmmft.losses.InfoNCE().per_pair([images, texts], logit_scale=1.0)
        >>> np.round(loss.numpy(), 4)
        array([0.4353, 0.547 ], dtype=float32)

    References:
        - [Oord et al., 2018](https://arxiv.org/abs/1807.03748), eq. 4.
        - [Radford et al., 2021](https://arxiv.org/abs/2103.00020), figure 3.
        - [Khosla et al., 2020](https://arxiv.org/abs/2004.11362), eq. 2 (several
          positives).
        - [Goyal et al., 2022](https://arxiv.org/abs/2212.00638) (FLYP).
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        same_group: str = "positive",
        chunk_size: int | None = None,
        name: str = "info_nce",
        **kwargs,
    ):
        super().__init__(same_group, chunk_size, name=name, **kwargs)
        if not 0 <= label_smoothing < 1:
            raise ValueError(
                "`label_smoothing` must be from 0 to below 1. "
                f"Received: {label_smoothing}"
            )
        self.label_smoothing = label_smoothing

    def rows(self, similarity, positive, valid, *, logit_scale, **kwargs):
        log_probability = log_softmax(logit_scale * similarity, valid)
        loss = -mean_where(positive, log_probability)
        if not self.label_smoothing:
            return loss
        spread = -mean_where(valid, log_probability)
        return (1 - self.label_smoothing) * loss + self.label_smoothing * spread

    def get_config(self) -> dict:
        return {**super().get_config(), "label_smoothing": self.label_smoothing}
