"""Integer labels for the losses that Keras gives for one-hot labels only."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("kmmft")
class SparseTargets(keras.losses.Loss):
    """Lets a loss for one-hot labels take integer labels.

    Keras has label smoothing and the focal loss for one-hot labels only, while data
    sets hold class ids. Sample weights and class weights go to the wrapped loss.

    Args:
        loss: A Keras loss of one-hot labels, such as `CategoricalFocalCrossentropy`.
        num_classes: Number of classes.

    Call arguments:
        y_true: int tensor `(batch,)` or `(batch, 1)` of class ids.
        y_pred: float tensor `(batch, num_classes)`.

    Returns:
        What the wrapped loss returns.

    Example:
        >>> loss = kmmft.losses.SparseTargets(
        ...     keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
        ...     num_classes=2,
        ... )
        >>> round(float(loss(np.array([0]), np.array([[0.9, 0.1]]))), 4)
        0.2152

    References:
        - [Szegedy et al., 2015](https://arxiv.org/abs/1512.00567), sec. 7 (label
          smoothing).
        - [Lin et al., 2017](https://arxiv.org/abs/1708.02002), eq. 5 (focal loss).
    """

    def __init__(
        self,
        loss: keras.losses.Loss,
        num_classes: int,
        name: str = "sparse_targets",
        **kwargs,
    ):
        super().__init__(name=name, reduction=loss.reduction, **kwargs)
        self.loss = loss
        self.num_classes = num_classes

    def call(self, y_true, y_pred):
        y_true = ops.reshape(y_true, (-1,))
        one_hot = ops.one_hot(y_true, self.num_classes, dtype=y_pred.dtype)
        return self.loss.call(one_hot, y_pred)

    def get_config(self) -> dict:
        return {
            "name": self.name,
            "loss": keras.saving.serialize_keras_object(self.loss),
            "num_classes": self.num_classes,
        }

    @classmethod
    def from_config(cls, config: dict):
        loss = keras.saving.deserialize_keras_object(config["loss"])
        return cls(**{**config, "loss": loss})
