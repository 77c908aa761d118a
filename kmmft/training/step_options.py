"""What a train step may do beyond one forward pass: options that wrap it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from kmmft.training.dropout_seeds import DropoutSeeds


@dataclasses.dataclass(frozen=True)
class Forward:
    """The forward pass of one replica in a train step, as a `StepOption` gets it.

    Attributes:
        run: Computes loss and outputs of a batch.
        seeds: The step's random numbers.
        micro_batch: Number of the micro-batch.
        depth: Number of options within.

    Call arguments:
        batch: `(x, y, sample_weight)`. For contrastive models `y` is the group.
        part: Number of the dropout draw: the same masks again for the same number.

    Returns:
        The replica's part of the global loss, which is the sum of the parts, and the
        model's outputs.
    """

    run: Callable
    seeds: DropoutSeeds
    micro_batch: int | tf.Tensor = 0
    depth: int = 0

    def __call__(self, batch: tuple, part: int = 0) -> tuple[tf.Tensor, Any]:
        return self.run(batch, part)

    def random_seed(self, *numbers: int) -> tf.Tensor:
        """A seed for TensorFlow's stateless random functions.

        Args:
            *numbers: What else it is to depend on, beside the step, the replica, the
                micro-batch and the option's place among the options.

        Returns:
            int32 tensor `(2,)`.
        """
        return self.seeds.key(self.micro_batch, self.depth, *numbers)


class StepOption:
    """Base of what changes a model's train step; `kmmft.finetuning` has some.

    A model with `DistributedTraining` has a list of them, `step_options`. Each wraps
    the forward pass that the ones before it made. The gradients of the loss that comes
    out are what the optimizer gets.

    Options that need several forward passes have each of them update the statistics
    of BatchNorm that trains.

    Example:
        >>> class Halved(kmmft.training.StepOption):
        ...     def wrap(self, model, forward):
        ...         def halved(batch, part=0):
        ...             loss, outputs = forward(batch, part)
        ...             return loss / 2, outputs
        ...         return halved
        >>> class Model(kmmft.training.DistributedTraining, keras.Model):
        ...     pass
        >>> inputs = keras.Input((3,))
        >>> model = Model(inputs, keras.layers.Dense(1)(inputs))
        >>> model.step_options = [Halved()]
        >>> model.compile("sgd", "mse")
        >>> history = model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0)
    """

    def wrap(self, model: keras.Model, forward: Forward) -> Callable:
        """Makes the step's forward pass of another. Called when a step is traced.

        Args:
            model: The compiled model.
            forward: What to call, once or several times.

        Returns:
            A function `(batch, part=0) -> (loss, outputs)`.
        """
        return forward

    def change_gradients(
        self, model: keras.Model, gradients: list[tf.Tensor | None]
    ) -> list[tf.Tensor | None]:
        """Changes the gradients after they are summed over the replicas.

        Args:
            model: The compiled model.
            gradients: One for each of `trainable_variables`, times the scale of the
                loss in float16. It must come out the same on all replicas.

        Returns:
            As `gradients`.
        """
        return gradients

    def get_config(self) -> dict:
        """The constructor's arguments."""
        return {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self)
        }

    @classmethod
    def from_config(cls, config: dict) -> "StepOption":
        """Makes an option of what `get_config` returned."""
        return cls(**config)


class MixedTargets(NamedTuple):
    """Targets of examples that were mixed of two; takes the place of `y` in a batch.

    The loss is `share` times the loss with the first targets and weights, and the rest
    times the loss with the others.
    """

    y: Any
    sample_weight: tf.Tensor | None
    other_y: Any
    other_sample_weight: tf.Tensor | None
    share: tf.Tensor


def check_options(options: Sequence) -> tuple:
    """Options as a tuple; raises a ValueError unless all are options."""
    options = tuple(options) if isinstance(options, list | tuple) else (options,)
    wrong = [option for option in options if not isinstance(option, StepOption)]
    if wrong:
        raise ValueError(
            "`step_options` must be a list of kmmft.training.StepOption, such as "
            f"kmmft.finetuning.RDrop(). Received: {wrong}."
        )
    return options


def wraps_forward(option: StepOption) -> bool:
    """Whether an option changes the forward pass, and not gradients only."""
    return type(option).wrap is not StepOption.wrap


def wrapped_forward(
    model: keras.Model,
    compute: Callable[[tuple], Any],
    seeds: DropoutSeeds,
    micro_batch: int | tf.Tensor = 0,
) -> Forward:
    """A model's forward pass within all of its options.

    Args:
        model: A model with `step_options` and `loss_of_step(batch, outputs)`.
        compute: Computes the outputs of a batch.
        seeds: The step's random numbers.
        micro_batch: Number of the micro-batch.
    """

    def run(batch, part):
        seeds.set(micro_batch, part)
        outputs = compute(batch)
        return _loss(model, batch, outputs), outputs

    forward = Forward(run, seeds, micro_batch)
    for depth, option in enumerate(model.step_options, start=1):
        forward = dataclasses.replace(forward, depth=depth)
        forward = dataclasses.replace(forward, run=option.wrap(model, forward))
    return forward


def _loss(model, batch, outputs) -> tf.Tensor:
    x, y, sample_weight = batch
    if not isinstance(y, MixedTargets):
        return model.loss_of_step((x, y, sample_weight), outputs)
    share = tf.cast(y.share, tf.float32)
    first = model.loss_of_step((x, y.y, y.sample_weight), outputs)
    other = model.loss_of_step((x, y.other_y, y.other_sample_weight), outputs)
    return share * first + (1 - share) * other
