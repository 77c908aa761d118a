"""What losses share that change or add to another contrastive loss."""

import keras

from kmmft.losses.contrastive_loss import ContrastiveLoss


class WrappedLoss(ContrastiveLoss):
    """Takes the rules of pairing of another contrastive loss.

    Args:
        loss: A `ContrastiveLoss`.

    Raises:
        ValueError: If `loss` is no `ContrastiveLoss`.
    """

    def __init__(self, loss: ContrastiveLoss, name: str, **kwargs):
        if not isinstance(loss, ContrastiveLoss):
            raise ValueError(
                "`loss` must be a contrastive loss. "
                f"Received: {loss!r}. Give, for example, `kmmft.losses.InfoNCE()`"
            )
        super().__init__(loss.same_group, loss.chunk_size, name=name, **kwargs)
        self.loss = loss
        self.symmetric = loss.symmetric
        self.joint = loss.joint
        self.needs_logit_bias = loss.needs_logit_bias
        self.initial_logit_scale = loss.initial_logit_scale
        self.initial_logit_bias = loss.initial_logit_bias

    def get_config(self) -> dict:
        return {
            "name": self.name,
            "reduction": self.reduction,
            "loss": keras.saving.serialize_keras_object(self.loss),
        }

    @classmethod
    def from_config(cls, config: dict):
        loss = keras.saving.deserialize_keras_object(config["loss"])
        return cls(**{**config, "loss": loss})
