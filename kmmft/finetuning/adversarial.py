"""Training on inputs that are perturbed to raise the loss."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import keras
import tensorflow as tf

from kmmft.finetuning.perturbation import (
    TOKEN_EMBEDDINGS,
    Climb,
    PerturbedForward,
    check_numbers,
    perturbed_by,
)
from kmmft.training.step_options import Forward, StepOption


@keras.saving.register_keras_serializable("kmmft")
@dataclasses.dataclass(frozen=True)
class FGM(StepOption):
    """Adds the loss under the worst small perturbation, to first order.

    What is perturbed are outputs of layers, such as token embeddings, or float inputs,
    such as pixels. Each example has a perturbation r = epsilon g / ||g||, g being the
    gradient of its loss, and the loss is L(x) + weight L(x + r). Both passes draw the
    same dropout masks. A step takes about twice as long as without. Tokens that the
    batch's `padding_mask` hides are not perturbed.

    A radius is to be compared with the length of what is perturbed: all of an
    example's token vectors, or pixels in [0, 255], taken as one vector.

    Args:
        epsilon: Radius of the perturbation.
        layers: `fnmatch` patterns over float inputs (`"image"`) and paths of layers
            (`kmmft.finetuning.named_layers`), or a dict with an `epsilon` for each
            pattern. Each place has a perturbation of its own.
        norm: `"l2"`, or `"inf"`: r = epsilon sign(g).
        per_token: Whether each vector along the last axis has the norm, instead of
            each example.
        weight: Weight of the perturbed loss.

    Raises:
        ValueError: If a number is negative, `norm` is unknown, or, when the step is
            traced, a pattern matches nothing.

    Example:
        >>> class Model(kmmft.training.DistributedTraining, keras.Model):
        ...     pass
        >>> inputs = keras.Input((3,), name="x")
        >>> model = Model(inputs, keras.layers.Dense(1)(inputs))
        >>> model.step_options = [kmmft.finetuning.FGM(epsilon=0.1, layers="x")]
        >>> model.compile("sgd", "mse")
        >>> history = model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0)

    References:
        - [Miyato et al., 2016](https://arxiv.org/abs/1605.07725), section 3
          (adversarial training).
    """

    epsilon: float = 1.0
    layers: str | Sequence[str] | Mapping[str, float] = TOKEN_EMBEDDINGS
    norm: str = "l2"
    per_token: bool = False
    weight: float = 1.0

    def __post_init__(self):
        check_numbers(self, weight=self.weight)

    def wrap(self, model: keras.Model, forward: Forward) -> Callable:
        perturbed = perturbed_by(self, model, forward)

        def run(batch, part=0):
            clean = perturbed.climb(batch, part)
            worst, _ = perturbed.run(batch, part, perturbed.step_up(clean))
            worst = perturbed.without_additional(worst)
            return clean.loss + self.weight * worst, clean.outputs

        return run


@keras.saving.register_keras_serializable("kmmft")
@dataclasses.dataclass(frozen=True)
class PGD(StepOption):
    """Trains on perturbations that climb the loss in several steps within a ball.

    min over weights of max over ||r|| <= epsilon of L(x + r). A step takes `steps` + 1
    forward passes. Otherwise as `FGM`; metrics are of the outputs before the first
    step.

    Args:
        epsilon: Radius of the ball, as in `FGM`.
        step_size: Length of a step; default: 2.5 * epsilon / steps.
        steps: Number of steps.
        random_start: Whether to start at a random place in the ball instead of at the
            input itself.
        layers: As in `FGM`.
        norm: As in `FGM`.
        per_token: As in `FGM`.
        clean_weight: Weight of the loss before the first step, which is the clean one
            unless the start is random.

    Raises:
        ValueError: As `FGM`, or if `steps` is not positive.

    Example:
        >>> option = kmmft.finetuning.PGD(epsilon=8.0, steps=3, layers="image")
        >>> option.steps
        3

    References:
        - [Madry et al., 2017](https://arxiv.org/abs/1706.06083), eq. 2.1 and
          section 2.1 (projected gradient descent).
    """

    epsilon: float = 1.0
    step_size: float | None = None
    steps: int = 3
    random_start: bool = False
    layers: str | Sequence[str] | Mapping[str, float] = TOKEN_EMBEDDINGS
    norm: str = "l2"
    per_token: bool = False
    clean_weight: float = 0.0

    def __post_init__(self):
        check_numbers(self, clean_weight=self.clean_weight, step_size=self.step_size)

    def wrap(self, model: keras.Model, forward: Forward) -> Callable:
        perturbed = perturbed_by(self, model, forward)

        def run(batch, part=0):
            start = _random_start(forward) if self.random_start else None
            first = climb = perturbed.climb(batch, part, start)
            for _ in range(self.steps - 1):
                climb = perturbed.climb(batch, part, _up(self, perturbed, climb))
            loss, _ = perturbed.run(batch, part, _up(self, perturbed, climb))
            if self.clean_weight:
                loss += self.clean_weight * first.bare_loss
            return loss, first.outputs

        return run


@keras.saving.register_keras_serializable("kmmft")
@dataclasses.dataclass(frozen=True)
class FreeLB(StepOption):
    """Trains on all perturbations on the way up the loss, not only on the last.

    The loss is the mean of those at r_0, ..., r_{K-1}: r_0 is random, and each step
    goes `step_size` along the gradient of each example's loss and back into the ball.
    A step takes `steps` forward passes, all with the same dropout masks, as in the
    paper's section 3.3. Metrics are of the first one's outputs. Otherwise as `FGM`.

    Args:
        epsilon: Radius of the ball, as in `FGM`.
        step_size: Length of a step; default: 2.5 * epsilon / steps.
        steps: Number of passes, K.
        random_start: False: r_0 is zero.
        layers: As in `FGM`.
        norm: As in `FGM`.
        per_token: As in `FGM`.

    Raises:
        ValueError: As `PGD`.

    Example:
        >>> option = kmmft.finetuning.FreeLB(epsilon=0.3, step_size=0.1, steps=3)
        >>> option.get_config()["step_size"]
        0.1

    References:
        - [Zhu et al., 2019](https://arxiv.org/abs/1909.11764), algorithm 1.
    """

    epsilon: float = 1.0
    step_size: float | None = None
    steps: int = 3
    random_start: bool = True
    layers: str | Sequence[str] | Mapping[str, float] = TOKEN_EMBEDDINGS
    norm: str = "l2"
    per_token: bool = False

    def __post_init__(self):
        check_numbers(self, step_size=self.step_size)

    def wrap(self, model: keras.Model, forward: Forward) -> Callable:
        perturbed = perturbed_by(self, model, forward)

        def run(batch, part=0):
            start = _random_start(forward) if self.random_start else None
            climbs = [perturbed.climb(batch, part, start)]
            for _ in range(self.steps - 1):
                deltas = _up(self, perturbed, climbs[-1])
                climbs.append(perturbed.climb(batch, part, deltas))
            # The last one's direction is for nobody; the graph leaves it out.
            losses = [climb.loss for climb in climbs]
            return tf.add_n(losses) / self.steps, climbs[0].outputs

        return run


def _random_start(forward: Forward) -> Callable:
    return lambda ball, number, mask: ball.random(forward.random_seed(number), mask)


def _up(option, perturbed: PerturbedForward, climb: Climb) -> dict:
    # Madry et al. cross the ball 2.5 times.
    return perturbed.step_up(climb, option.step_size, share=2.5 / option.steps)
