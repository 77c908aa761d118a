"""Forward passes with a perturbation of each example, and how it climbs a loss."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from kmmft.finetuning.layer_outputs import ChangeableParts, token_mask
from kmmft.finetuning.norm_ball import NormBall
from kmmft.training.collectives import num_replicas
from kmmft.training.micro_batches import additional_loss
from kmmft.training.step_options import Forward

Layers = str | Sequence[str] | Mapping[str, float]
TOKEN_EMBEDDINGS = "*token_embedding"


class Climb(NamedTuple):
    """What `PerturbedForward.climb` found.

    Attributes:
        loss: The pass's loss.
        bare_loss: The same without penalties; see `without_additional`.
        outputs: The model's outputs in it.
        deltas: Its perturbations, by place.
        directions: Where the loss rises fastest, by place, with norm 1.
    """

    loss: tf.Tensor
    bare_loss: tf.Tensor
    outputs: Any
    deltas: dict
    directions: dict


class PerturbedForward:
    """A forward pass in which tensors are added to inputs and layers' outputs.

    All passes draw the dropout masks of their `part`, so that those of one part differ
    by the perturbation only. Padding is not perturbed where the batch has its
    `padding_mask`.

    Args:
        model: Compiled model.
        forward: The pass to perturb.
        layers: Patterns of what is perturbed; a dict has a radius for each.
        epsilon: Radius of the ball where `layers` has none.
        norm: As in `NormBall`.
        per_token: As in `NormBall`.
    """

    def __init__(
        self,
        model: keras.Model,
        forward: Forward,
        layers: Layers,
        epsilon: float,
        norm: str = "l2",
        per_token: bool = False,
    ):
        radii = dict(layers) if isinstance(layers, Mapping) else {}
        self.model = model
        self.forward = forward
        self.parts = ChangeableParts(
            model, layers if isinstance(layers, str) else list(layers)
        )
        self.balls = {
            name: NormBall(radii.get(pattern, epsilon), norm, per_token)
            for name, pattern in self.parts.pattern_of.items()
        }

    def run(self, batch: tuple, part: int, deltas: dict) -> tuple[tf.Tensor, Any]:
        """Loss and outputs with given perturbations."""
        return self._run(batch, part, lambda site, mask: deltas[site])

    def climb(
        self,
        batch: tuple,
        part: int,
        start: dict | Callable | None = None,
        objective: Callable | None = None,
    ) -> Climb:
        """A pass that looks for the way up.

        Args:
            batch: As for the forward pass.
            part: Number of the dropout draw.
            start: Perturbations by place, or a function that makes them: given a ball,
                the place's number and a mask, which is 0 where they must be zero.
                `None` for zeros.
            objective: Given loss and outputs, returns what is to rise; default: the
                loss.
        """
        deltas, masks = {}, {}
        with tf.GradientTape(watch_accessed_variables=False) as tape:

            def give(site, mask):
                delta = self._first(start, site, mask, len(deltas))
                tape.watch(delta)
                deltas[site], masks[site] = delta, mask
                return delta

            loss, outputs = self._run(batch, part, give)
            bare_loss = self.without_additional(loss)
            climbed = loss if objective is None else objective(loss, outputs)
            # Only its direction counts; unscaled it would vanish in float16.
            climbed = self.model.optimizer.scale_loss(climbed)
        gradients = tape.gradient(climbed, deltas)
        directions = {
            site: self._direction(site, gradients[site], mask)
            for site, mask in masks.items()
        }
        return Climb(loss, bare_loss, outputs, deltas, directions)

    def step_up(
        self, climb: Climb, step_size: float | None = None, share: float = 1.0
    ) -> dict:
        """Perturbations after a step up, back in the ball.

        Args:
            climb: Where to begin.
            step_size: Length of the step; `None` for a share of the radius.
            share: This share.
        """
        moved = {}
        for site, delta in climb.deltas.items():
            ball = self.balls[site[0]]
            size = share * ball.radius if step_size is None else step_size
            moved[site] = ball.project(delta + size * climb.directions[site])
        return moved

    def along(self, climb: Climb) -> dict:
        """Perturbations on the sphere, in the directions that were found."""
        return {
            site: self.balls[site[0]].radius * direction
            for site, direction in climb.directions.items()
        }

    def without_additional(self, loss: tf.Tensor) -> tf.Tensor:
        """The loss of the last pass without penalties, such as on weights.

        So that they count once in a sum of several passes' losses.
        """
        return loss - additional_loss(self.model) / num_replicas()

    def _first(self, start, site, mask, number) -> tf.Tensor:
        if start is None:
            return tf.zeros_like(mask)
        if isinstance(start, Mapping):
            return start[site]
        return start(self.balls[site[0]], number, mask)

    def _direction(self, site, gradient, mask) -> tf.Tensor:
        if gradient is None:
            raise ValueError(
                "The loss must depend on what is perturbed. Received: layers with "
                f"{site[0]!r}, on which it does not depend. Name other layers."
            )
        direction = self.balls[site[0]].direction(gradient * mask)
        return tf.stop_gradient(direction)

    def _run(self, batch, part, delta_of) -> tuple[tf.Tensor, Any]:
        x, *rest = batch

        def change(name, number, tensor):
            mask = tf.ones(tf.shape(tensor))
            real = token_mask(self.model, name, x, tensor)
            if real is not None:
                mask *= tf.cast(real, tf.float32)[..., None]
            delta = delta_of((name, number), tf.ensure_shape(mask, tensor.shape))
            return tensor + tf.cast(delta, tensor.dtype)

        with self.parts.changed(x, change) as changed_x:
            return self.forward((changed_x, *rest), part)


def perturbed_by(option, model: keras.Model, forward: Forward) -> PerturbedForward:
    """The pass that an option perturbs, with its layers, radius and norm."""
    return PerturbedForward(
        model, forward, option.layers, option.epsilon, option.norm, option.per_token
    )


def check_numbers(option, **numbers: float | None) -> None:
    """Raises a ValueError unless an option's ball, steps and numbers make sense."""
    wrong = {key: x for key, x in numbers.items() if x is not None and x < 0}
    steps = getattr(option, "steps", 1)
    if wrong or steps < 1:
        raise ValueError(
            "`steps` must be positive and no number negative. Received: "
            f"steps={steps}, {numbers}."
        )
    NormBall(option.epsilon, option.norm)
