"""Learning from a frozen model, such as the one that training began with."""

import dataclasses
from collections.abc import Callable

import keras
import tensorflow as tf

from kmmft.finetuning.mixup import Mixup
from kmmft.finetuning.output_divergence import comparable, divergence, output_kind
from kmmft.finetuning.rebuilt_model import rebuild
from kmmft.training.own_inputs import own_inputs
from kmmft.training.step_options import Forward, StepOption


@dataclasses.dataclass(frozen=True)
class SelfDistillation(StepOption):
    """Adds weight T^2 KL(teacher || student), both softened by the temperature T.

    The teacher is the model that training begins with, so that it is forgotten less,
    or any other of the same classes. It runs without dropout, is not trained, and is
    no part of the model or its checkpoints: a resumed run makes it again before the
    checkpoint is restored. For a dual encoder the distributions are each query's
    similarities to the candidates of the global batch; for regression the divergence
    is half the squared distance.

    Args:
        teacher: A model of the same inputs and outputs. Make it by
            `kmmft.finetuning.starting_copy(model)`.
        weight: Weight of the divergence.
        temperature: T; with more, the teacher's small probabilities count more.
        outputs: What the outputs are: see `kmmft.finetuning.output_kind`; `None` for
            what a kmmft model says of itself.

    Raises:
        ValueError: If `weight` is negative or `temperature` not positive; when the
            step is traced, if the teacher is the model itself or there is a `Mixup`.

    Example:
        >>> class Model(kmmft.training.DistributedTraining, keras.Model):
        ...     pass
        >>> inputs = keras.Input((3,))
        >>> model = Model(inputs, keras.layers.Dense(2)(inputs))
        >>> teacher = kmmft.finetuning.starting_copy(model)
        >>> model.step_options = [
        ...     kmmft.finetuning.SelfDistillation(teacher, outputs="single_label")]
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> model.compile("sgd", loss)
        >>> history = model.fit(np.ones((4, 3)), np.zeros(4, int), verbose=0)

    References:
        - [Hinton et al., 2015](https://arxiv.org/abs/1503.02531), section 2.
        - [Li & Hoiem, 2016](https://arxiv.org/abs/1606.09282), section 3 (against
          forgetting).
    """

    teacher: keras.Model
    weight: float = 1.0
    temperature: float = 1.0
    outputs: str | None = None

    def __post_init__(self):
        if self.weight < 0 or self.temperature <= 0:
            raise ValueError(
                "`weight` must not be negative and `temperature` must be positive. "
                f"Received: weight={self.weight}, temperature={self.temperature}."
            )

    def wrap(self, model: keras.Model, forward: Forward) -> Callable:
        kind = output_kind(model, self.outputs)
        if self.teacher is model:
            raise ValueError(
                "A model cannot be its own teacher while it trains. Received: "
                f"teacher={model.name!r}. Give `starting_copy(model)`."
            )
        if any(isinstance(option, Mixup) for option in model.step_options):
            raise ValueError(
                "A teacher would not see the mixed texts. Received: SelfDistillation "
                "beside Mixup or CutMix. Leave one out."
            )
        # For regression the temperature has no meaning.
        factor = self.weight * (1 if kind == "regression" else self.temperature**2)

        def run(batch, part=0):
            loss, outputs = forward(batch, part)
            answers = self.teacher(own_inputs(self.teacher, batch[0]), training=False)
            targets = comparable(self.teacher, answers, kind)
            apart = divergence(
                [tf.stop_gradient(x) for x in targets],
                comparable(model, outputs, kind),
                kind,
                self.temperature,
            )
            return loss + factor * apart, outputs

        return run

    def get_config(self) -> dict:
        raise NotImplementedError(
            "SelfDistillation has no config: a teacher's weights are not in it."
        )


def starting_copy(model: keras.Model) -> keras.Model:
    """A frozen copy of a model with the weights that it has now.

    Make it before a plan or adapters change the model, and in a resumed run before
    the checkpoint is restored.

    Args:
        model: A built model that can be made again from its config, as all kmmft
            models can. It need not be compiled.

    Returns:
        A model of the same class, not trainable, made under the model's strategy.

    Raises:
        ValueError: If what its config makes has other weights.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> copy = kmmft.finetuning.starting_copy(model)
        >>> bool(np.all(copy(np.ones((1, 2))) == model(np.ones((1, 2)))))
        True
    """
    copy = rebuild(model)
    copy.trainable = False
    return copy
