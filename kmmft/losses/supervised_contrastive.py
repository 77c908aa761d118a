"""All items of a group together, whatever tower they come from."""

import keras

from kmmft.losses.contrastive_loss import ContrastiveLoss
from kmmft.losses.masked_rows import log_softmax, mean_where


@keras.saving.register_keras_serializable("kmmft")
class SupervisedContrastive(ContrastiveLoss):
    """Softmax cross-entropy of each item's group among all other items.

    Items of all towers are queries and candidates at once, so that images of one
    class also draw each other. For data with labels, given as groups; without
    groups an item's only positive is its pair's other half. An item without
    positives costs nothing.

    Args:
        temperature: Divides the cosines; `None` for the trained logit scale.
        chunk_size: Queries at a time; see `ContrastiveLoss`.

    Call arguments:
        y_true: int tensor `(batch,)` of groups; `np.arange(batch)` for none.
        y_pred: float tensor `(batch, towers, dim)`, or a dict or sequence of
            `(batch, dim)`.

    Returns:
        float32 scalar: the mean over all items.

    Raises:
        ValueError: If `temperature` is not positive.

    Example:
        >>> labels, views = np.array([0, 0, 1]), [np.eye(3), np.eye(3)]
        >>> loss = kmmft.losses.SupervisedContrastive(temperature=1.0)
        >>> np.round(loss.per_pair(views, labels).numpy(), 4)
        array([1.5715, 1.5715, 0.9048], dtype=float32)

    References:
        - [Khosla et al., 2020](https://arxiv.org/abs/2004.11362), eq. 2 (L_out).
    """

    joint = True

    def __init__(
        self,
        temperature: float | None = None,
        chunk_size: int | None = None,
        name: str = "supervised_contrastive",
        **kwargs,
    ):
        super().__init__("positive", chunk_size, name=name, **kwargs)
        if temperature is not None and temperature <= 0:
            raise ValueError(
                f"`temperature` must be positive or None. Received: {temperature}"
            )
        self.temperature = temperature

    def rows(self, similarity, positive, valid, *, logit_scale, **kwargs):
        scale = 1 / self.temperature if self.temperature else logit_scale
        return -mean_where(positive, log_softmax(scale * similarity, valid))

    def get_config(self) -> dict:
        config = super().get_config()
        del config["same_group"]
        return {**config, "temperature": self.temperature}
