"""Two dropout masks, one answer."""

import dataclasses
from collections.abc import Callable

import keras

from kmmft.finetuning.output_divergence import (
    comparable,
    output_kind,
    symmetric_divergence,
)
from kmmft.training.step_options import Forward, StepOption


@keras.saving.register_keras_serializable("kmmft")
@dataclasses.dataclass(frozen=True)
class RDrop(StepOption):
    """Lets a model answer alike under two dropout masks.

    Two forward passes with different masks give the loss
    (L_1 + L_2) / 2 + alpha (KL(p_1 || p_2) + KL(p_2 || p_1)) / 2: the paper's eq. 4
    with the mean of the two task losses for their sum, as in the authors' code, so
    that learning rates stay what they were. For regression a divergence is half the
    squared distance, for a dual encoder that of each query's similarities, softmax
    over all candidates of the global batch. Metrics are of the first pass.

    Args:
        alpha: Weight of the divergence. The paper's best are 1 to 5 for text
            classification, 0.6 for ViT.
        outputs: What the outputs are: see `kmmft.finetuning.output_kind`; `None` for
            what a kmmft model says of itself.

    Raises:
        ValueError: If `alpha` is negative, or, when the step is traced, the model has
            no dropout or the kind of its outputs is unknown.

    Example:
        >>> inputs = keras.Input((3,))
        >>> x = keras.layers.Dropout(0.5)(inputs)
        >>> class Model(kmmft.training.DistributedTraining, keras.Model):
        ...     pass
        >>> model = Model(inputs, keras.layers.Dense(2)(x))
        >>> model.step_options = [kmmft.finetuning.RDrop(1.0, outputs="single_label")]
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> model.compile("sgd", loss)
        >>> history = model.fit(np.ones((4, 3)), np.zeros(4, int), verbose=0)

    References:
        - [Liang et al., 2021](https://arxiv.org/abs/2106.14448), eq. 2-4.
    """

    alpha: float = 1.0
    outputs: str | None = None

    def __post_init__(self):
        if self.alpha < 0:
            raise ValueError(
                f"`alpha` must not be negative. Received: alpha={self.alpha}."
            )

    def wrap(self, model: keras.Model, forward: Forward) -> Callable:
        kind = output_kind(model, self.outputs)
        if not forward.seeds.states:
            raise ValueError(
                "R-Drop needs a model with dropout. Received: "
                f"{model.name!r}, which has none. Give it a dropout rate."
            )

        def run(batch, part=0):
            # Numbers of draws that differ for different `part`s too.
            loss, outputs = forward(batch, 2 * part)
            other_loss, others = forward(batch, 2 * part + 1)
            apart = symmetric_divergence(
                comparable(model, outputs, kind), comparable(model, others, kind), kind
            )
            return (loss + other_loss + self.alpha * apart) / 2, outputs

        return run
