"""Examples mixed of two, in all modalities alike."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from kmmft.finetuning.layer_outputs import (
    ChangeableParts,
    map_inputs,
    model_inputs,
    token_mask,
)
from kmmft.finetuning.perturbation import TOKEN_EMBEDDINGS
from kmmft.training.step_options import Forward, MixedTargets, StepOption


@keras.saving.register_keras_serializable("kmmft")
@dataclasses.dataclass(frozen=True)
class Mixup(StepOption):
    """Mixes each example with another one of its replica's batch.

    With one share s ~ Beta(alpha, alpha) and one permutation a step, float inputs such
    as pixels become s x + (1 - s) x', texts are mixed likewise where their tokens are
    embedded, and the loss is s L(y) + (1 - s) L(y'). So labels may be integers. Padding
    counts as zeros, and a mixed text is as long as the longer one. Masks and other
    boolean inputs are true where one of the two is. For a dual encoder, mixed images
    belong to texts mixed in the same way; groups are mixed as labels are.

    Random numbers depend on the step, the replica and the micro-batch only, so that a
    resumed run mixes what it would have mixed. Metrics compare the outputs for mixed
    examples with the first labels.

    Args:
        alpha: Both parameters of the Beta distribution. Around 0.2 for pixels.
        layers: `fnmatch` patterns over paths of the layers that embed integer inputs,
            such as token ids. Not used for models without.
        seed: Seed of shares and permutations.

    Raises:
        ValueError: If `alpha` is not positive; when the step is traced, if there are
            integer inputs but no such layer, or the batch has explicit hard negatives,
            a teacher's vectors, or is mixed already.

    Example:
        >>> class Model(kmmft.training.DistributedTraining, keras.Model):
        ...     pass
        >>> inputs = keras.Input((3,))
        >>> model = Model(inputs, keras.layers.Dense(2)(inputs))
        >>> model.step_options = [kmmft.finetuning.Mixup(0.2)]
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> model.compile("sgd", loss)
        >>> history = model.fit(np.ones((4, 3)), np.zeros(4, int), verbose=0)

    References:
        - [Zhang et al., 2017](https://arxiv.org/abs/1710.09412), section 2.
        - [Guo et al., 2019](https://arxiv.org/abs/1905.08941), section 3
          (wordMixup).
    """

    alpha: float = 0.2
    layers: str | Sequence[str] = TOKEN_EMBEDDINGS
    seed: int = 0

    def __post_init__(self):
        if self.alpha <= 0:
            raise ValueError(
                f"`alpha` must be positive. Received: alpha={self.alpha}. Leave the "
                "option out to mix nothing."
            )

    def wrap(self, model: keras.Model, forward: Forward) -> Callable:
        inputs = model_inputs(model)
        tokens = [name for name, x in inputs.items() if tf.as_dtype(x.dtype).is_integer]
        embeddings = ChangeableParts(model, self.layers) if tokens else None

        def run(batch, part=0):
            x, y, sample_weight = batch
            _check_batch(x, y)
            x = tf.nest.map_structure(tf.convert_to_tensor, x)
            rows = tf.shape(tf.nest.flatten(x)[0])[0]
            # Not of `part`: another dropout draw is to see the same examples.
            partners = tf.argsort(
                tf.random.stateless_uniform([rows], forward.random_seed(self.seed, 0))
            )
            share = _beta(self.alpha, forward.random_seed(self.seed, 1))
            mix = self.mixing(forward, x, share, partners)
            targets = _mixed_targets(y, sample_weight, mix.share, partners)
            mixed = map_inputs(model, x, mix.input)
            batch = (mixed, targets, sample_weight)
            if embeddings is None:
                return forward(batch, part)

            def change(name, number, tensor):
                return mix.embedding(tensor, token_mask(model, name, x, tensor))

            with embeddings.changed(mixed, change):
                return forward(batch, part)

        return run

    def mixing(self, forward, x, share, partners) -> "Mixing":
        """How the examples of a batch are mixed."""
        return Mixing(share, partners)


@keras.saving.register_keras_serializable("kmmft")
@dataclasses.dataclass(frozen=True)
class CutMix(Mixup):
    """Puts a box of another example's image into each image.

    The box covers a part 1 - s of the image, s ~ Beta(alpha, alpha), around a random
    place and cut off at the edges; what is left of s is the share of the first
    example in the loss. Videos have the same box in every frame. All else, texts too,
    is mixed as by `Mixup`, with that share.

    Args:
        alpha: Both parameters of the Beta distribution.
        layers: As in `Mixup`.
        seed: As in `Mixup`.

    Raises:
        ValueError: As `Mixup`, or if the batch has no images of one size.

    Example:
        >>> kmmft.finetuning.CutMix().alpha
        1.0

    References:
        - [Yun et al., 2019](https://arxiv.org/abs/1905.04899), eq. 1-2.
    """

    alpha: float = 1.0

    def mixing(self, forward, x, share, partners) -> "Mixing":
        images = [v for v in tf.nest.flatten(x) if _is_image(v)]
        sizes = {tuple(image.shape[-3:-1]) for image in images}
        if len(sizes) != 1:
            raise ValueError(
                "CutMix needs images of one size. Received: images of sizes "
                f"{sorted(sizes)}. Use Mixup instead."
            )
        height, width = tf.unstack(tf.shape(images[0])[-3:-1])
        place = tf.random.stateless_uniform([2], forward.random_seed(self.seed, 2))
        rows = _side(height, place[0], share)
        columns = _side(width, place[1], share)
        box = rows[:, None, None] & columns[None, :, None]
        return Mixing(1.0 - tf.reduce_mean(tf.cast(box, tf.float32)), partners, box)


@dataclasses.dataclass(frozen=True)
class Mixing:
    """Mixes the tensors of one batch.

    Args:
        share: float32 scalar, the first example's share.
        partners: int tensor `(batch,)`, numbers of the second examples.
        box: bool tensor `(height, width, 1)`, where an image is the second one; `None`
            for images that are mixed throughout.
    """

    share: tf.Tensor
    partners: tf.Tensor
    box: tf.Tensor | None = None

    def input(self, name: str, tensor: tf.Tensor) -> tf.Tensor:
        """Mixes a model's input; integers stay for their embedding."""
        other = tf.gather(tensor, self.partners)
        if tensor.dtype == tf.bool:
            return tensor | other
        if not tensor.dtype.is_floating:
            return tensor
        if self.box is not None and _is_image(tensor):
            return tf.where(self.box, other, tensor)
        return self._sum(tensor, other)

    def embedding(self, tensor: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        """Mixes what integers were embedded as."""
        if mask is not None:
            tensor *= tf.cast(mask, tensor.dtype)[..., None]
        return self._sum(tensor, tf.gather(tensor, self.partners))

    def _sum(self, tensor, other):
        share = tf.cast(self.share, tensor.dtype)
        return share * tensor + (1 - share) * other


def _mixed_targets(y, sample_weight, share, partners):
    if y is None:
        # Each mixed example is its own positive.
        return None

    def others(values):
        return tf.nest.map_structure(lambda v: tf.gather(v, partners), values)

    other_weight = None if sample_weight is None else others(sample_weight)
    return MixedTargets(y, sample_weight, others(y), other_weight, share)


def _beta(alpha: float, seed: tf.Tensor, size: int = 4096) -> tf.Tensor:
    """A draw from Beta(alpha, alpha), of a table of its lower quantiles."""
    # XLA cannot compile TensorFlow's gamma draws. For small alpha the density has a
    # pole at 0, which is none in terms of x^alpha.
    power = 1 / min(alpha, 1.0)
    x = 0.5 * np.linspace(0, 1, size + 1) ** power
    density = (1 - x) ** (alpha - 1) * x ** max(alpha - 1, 0.0)
    below = np.append(0.0, np.cumsum(density[1:] + density[:-1]))
    below = tf.constant(below / below[-1] / 2, tf.float32)
    draw = tf.random.stateless_uniform([], seed)
    half = tf.minimum(draw, 1 - draw)
    index = tf.reduce_sum(tf.cast(below[1:-1] < half, tf.int32))
    step = tf.math.divide_no_nan(half - below[index], below[index + 1] - below[index])
    x = 0.5 * ((tf.cast(index, tf.float32) + step) / size) ** power
    return tf.where(draw < 0.5, x, 1 - x)


def _side(size: tf.Tensor, place: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """Which rows, or columns, of an image are in the box."""
    length = tf.cast(size, tf.float32)
    half = tf.floor(length * tf.sqrt(1.0 - share)) / 2
    middle = tf.floor(place * length)
    index = tf.range(length)
    return (index >= middle - half) & (index < middle + half)


def _is_image(tensor) -> bool:
    return tensor.dtype.is_floating and len(tensor.shape) >= 4


def _check_batch(x, y) -> None:
    if isinstance(y, MixedTargets):
        raise ValueError(
            "Examples can be mixed once. Received: two options of Mixup or CutMix. "
            "Leave one out."
        )
    keys = [*x] if isinstance(x, Mapping) else []
    own = [key for key in keys if key.startswith(("negative_", "teacher_"))]
    if own:
        raise ValueError(
            "Hard negatives and a teacher's vectors cannot be mixed. Received: "
            f"{own}. Leave them out of the batch, or Mixup out of the options."
        )
