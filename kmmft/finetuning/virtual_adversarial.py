"""Answers that stay what they are under small perturbations; needs no labels."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import keras
import tensorflow as tf

from kmmft.finetuning.output_divergence import (
    comparable,
    divergence,
    output_kind,
    symmetric_divergence,
)
from kmmft.finetuning.perturbation import (
    TOKEN_EMBEDDINGS,
    check_numbers,
    perturbed_by,
)
from kmmft.training.step_options import Forward, StepOption


@keras.saving.register_keras_serializable("kmmft")
@dataclasses.dataclass(frozen=True)
class SMART(StepOption):
    """Smoothness-inducing regularisation: the worst change of the outputs in a ball.

    The loss is L(x) + weight max over ||r|| <= epsilon of
    KL(f(x) || f(x + r)) + KL(f(x + r) || f(x)), or the squared distance for
    regression; see `kmmft.finetuning.output_kind`. r starts as normal noise and climbs
    in `steps` steps. All passes draw the same dropout masks; a step takes `steps` + 2
    forward passes. Examples without a label (weight 0) count too.

    Args:
        weight: Weight of the regularisation.
        epsilon: Radius of the ball.
        step_size: Length of a step up.
        steps: Number of steps up.
        noise: Standard deviation of the start.
        layers: What is perturbed, as in `FGM`.
        norm: `"inf"`, as in the paper, or `"l2"`.
        per_token: As in `FGM`.
        outputs: What the outputs are: see `kmmft.finetuning.output_kind`; `None` for
            what a kmmft model says of itself.

    Raises:
        ValueError: If a number is negative, or, when the step is traced, a pattern
            matches nothing or the kind of the outputs is unknown.

    Example:
        >>> option = kmmft.finetuning.SMART(epsilon=1e-2, step_size=1e-2)
        >>> option.weight
        1.0

    References:
        - [Jiang et al., 2019](https://arxiv.org/abs/1911.03437), eq. 1 and
          algorithm 1. Without its Bregman proximal updates.
    """

    weight: float = 1.0
    epsilon: float = 1e-2
    step_size: float = 1e-2
    steps: int = 1
    noise: float = 1e-3
    layers: str | Sequence[str] | Mapping[str, float] = TOKEN_EMBEDDINGS
    norm: str = "inf"
    per_token: bool = False
    outputs: str | None = None

    def __post_init__(self):
        check_numbers(
            self, weight=self.weight, step_size=self.step_size, epsilon=self.epsilon
        )

    def wrap(self, model: keras.Model, forward: Forward) -> Callable:
        kind = output_kind(model, self.outputs)
        perturbed = perturbed_by(self, model, forward)

        def run(batch, part=0):
            loss, outputs = forward(batch, part)
            clean = comparable(model, outputs, kind)
            fixed = [tf.stop_gradient(x) for x in clean]

            def apart(_, others):
                return symmetric_divergence(
                    fixed, comparable(model, others, kind), kind
                )

            def noise(ball, number, mask):
                return self.noise * _normal(forward, number, mask)

            deltas = noise
            for _ in range(self.steps):
                climb = perturbed.climb(batch, part, deltas, apart)
                deltas = perturbed.step_up(climb, self.step_size)
            _, others = perturbed.run(batch, part, deltas)
            worst = symmetric_divergence(clean, comparable(model, others, kind), kind)
            return loss + self.weight * worst, outputs

        return run


@keras.saving.register_keras_serializable("kmmft")
@dataclasses.dataclass(frozen=True)
class VAT(StepOption):
    """Virtual adversarial training: no direction may change the outputs much.

    The loss is L(x) + weight KL(p(x) || p(x + r)), p(x) held fixed, with
    r = epsilon g / ||g||, g being the gradient of that divergence at a small random
    perturbation. Otherwise as `SMART`.

    Args:
        weight: Weight of the divergence.
        epsilon: Length of the perturbation.
        xi: Length of the small random one. The divergence is flat at 0: with less the
            direction drowns in rounding, most of all in half precision.
        steps: Number of times that the direction is bettered (power iteration).
        layers: What is perturbed, as in `FGM`.
        per_token: As in `FGM`.
        outputs: As in `SMART`.

    Raises:
        ValueError: As `SMART`.

    Example:
        >>> kmmft.finetuning.VAT(epsilon=2.0, layers="image").xi
        0.1

    References:
        - [Miyato et al., 2017](https://arxiv.org/abs/1704.03976),
          algorithm 1.
    """

    weight: float = 1.0
    epsilon: float = 1.0
    xi: float = 0.1
    steps: int = 1
    layers: str | Sequence[str] | Mapping[str, float] = TOKEN_EMBEDDINGS
    per_token: bool = False
    outputs: str | None = None

    norm = "l2"

    def __post_init__(self):
        check_numbers(self, weight=self.weight, xi=self.xi, epsilon=self.epsilon)

    def wrap(self, model: keras.Model, forward: Forward) -> Callable:
        kind = output_kind(model, self.outputs)
        perturbed = perturbed_by(self, model, forward)

        def run(batch, part=0):
            loss, outputs = forward(batch, part)
            fixed = [tf.stop_gradient(x) for x in comparable(model, outputs, kind)]

            def apart(_, others):
                return divergence(fixed, comparable(model, others, kind), kind)

            def noise(ball, number, mask):
                return self.xi * ball.direction(_normal(forward, number, mask))

            deltas = noise
            for _ in range(self.steps):
                climb = perturbed.climb(batch, part, deltas, apart)
                deltas = {
                    site: self.xi * direction
                    for site, direction in climb.directions.items()
                }
            _, others = perturbed.run(batch, part, perturbed.along(climb))
            return loss + self.weight * apart(None, others), outputs

        return run


def _normal(forward: Forward, number: int, mask: tf.Tensor) -> tf.Tensor:
    seed = forward.random_seed(number)
    return mask * tf.random.stateless_normal(tf.shape(mask), seed)
