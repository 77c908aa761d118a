"""Learning from examples without labels: sure answers become labels of harder views."""

import dataclasses
from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from kmmft.finetuning.layer_outputs import model_inputs
from kmmft.finetuning.output_divergence import output_kind
from kmmft.training.step_options import Forward, MixedTargets, StepOption


@keras.saving.register_keras_serializable("kmmft")
@dataclasses.dataclass(frozen=True)
class FixMatch(StepOption):
    """Adds the cross-entropy of unlabelled examples with the model's own sure answers.

    The model answers a weakly changed view of each unlabelled example, in inference
    mode and without a gradient. Where its highest probability reaches the threshold,
    that class is the label of a strongly changed view: the loss is the labelled
    examples' plus weight 1/(u B) sum over the u B unlabelled ones of
    1(max q >= threshold) H(argmax q, p(strong view)). Unsure ones count as zeros in
    that mean. Where both views are the same these are plain pseudo-labels.

    The batch holds, beside the model's inputs `(batch, ...)`, for each of them
    `weak_<name>` and `strong_<name>` `(batch, u, ...)`: see
    `kmmft.data.add_unlabelled`. Labelled examples and strong views run in one forward
    pass; metrics are of the labelled ones.

    Args:
        threshold: Least probability of an answer that becomes a label.
        weight: Weight of the unlabelled examples' loss.
        outputs: What the outputs are: see `kmmft.finetuning.output_kind`; `None` for
            what a kmmft model says of itself. Only `"single_label"` will do.

    Raises:
        ValueError: If `threshold` is not from 0 to 1 or `weight` is negative; when the
            step is traced, if the model does not choose one class, its loss is not a
            mean over examples, or the batch has no views or is mixed.

    Example:
        >>> inputs = {"x": keras.Input((3,), name="x")}
        >>> class Model(kmmft.training.DistributedTraining, keras.Model):
        ...     pass
        >>> model = Model(inputs, keras.layers.Dense(2)(inputs["x"]))
        >>> model.step_options = [kmmft.finetuning.FixMatch(outputs="single_label")]
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> model.compile("sgd", loss)
        >>> views = np.ones((4, 7, 3))
        >>> x = {"x": np.ones((4, 3)), "weak_x": views, "strong_x": views}
        >>> history = model.fit(x, np.zeros(4, int), verbose=0)

    References:
        - [Sohn et al., 2020](https://arxiv.org/abs/2001.07685), eq. 3-4.
        - Lee, 2013, Pseudo-Label, ICML workshop on representation learning.
    """

    threshold: float = 0.95
    weight: float = 1.0
    outputs: str | None = None

    def __post_init__(self):
        if not 0 <= self.threshold <= 1 or self.weight < 0:
            raise ValueError(
                "`threshold` must be from 0 to 1 and `weight` not negative. Received: "
                f"threshold={self.threshold}, weight={self.weight}."
            )

    def wrap(self, model: keras.Model, forward: Forward) -> Callable:
        _check_model(model, output_kind(model, self.outputs))

        def run(batch, part=0):
            x, y, sample_weight = batch
            own, weak, strong = _views(model, x, y)
            classes, sure = self._pseudo_labels(model(weak, training=False))
            y = tf.convert_to_tensor(y)
            labelled, unlabelled = tf.shape(y)[0], tf.size(classes)
            if sample_weight is None:
                sample_weight = tf.ones([labelled])
            # The loss is one mean over all rows; these factors make it a sum of two.
            rows = tf.cast(labelled + unlabelled, tf.float32)
            weights = tf.concat(
                [
                    tf.reshape(tf.cast(sample_weight, tf.float32), [-1])
                    * (rows / tf.cast(labelled, tf.float32)),
                    sure * (self.weight * rows / tf.cast(unlabelled, tf.float32)),
                ],
                axis=0,
            )
            inputs = {name: tf.concat([own[name], strong[name]], 0) for name in own}
            classes = tf.reshape(classes, tf.concat([[-1], tf.shape(y)[1:]], 0))
            targets = tf.concat([y, tf.cast(classes, y.dtype)], 0)
            loss, outputs = forward((inputs, targets, weights), part)
            return loss, outputs[:labelled]

        return run

    def _pseudo_labels(self, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The likeliest classes, and 1.0 where they are sure."""
        answers = tf.stop_gradient(tf.nn.softmax(tf.cast(logits, tf.float32)))
        sure = tf.reduce_max(answers, axis=-1) >= self.threshold
        return tf.argmax(answers, axis=-1), tf.cast(sure, tf.float32)


def _check_model(model: keras.Model, kind: str) -> None:
    if kind != "single_label":
        raise ValueError(
            "FixMatch needs a model that chooses one class. Received: a model of "
            f"outputs {kind!r}."
        )
    reduction = getattr(model.loss, "reduction", "sum_over_batch_size")
    if reduction != "sum_over_batch_size":
        raise ValueError(
            "FixMatch needs a loss that is a mean over the examples. Received: a loss "
            f"with reduction={reduction!r}. Leave out its `reduction`."
        )


def _views(model: keras.Model, x, y) -> tuple[dict, dict, dict]:
    """A model's inputs of labelled examples, of weak and of strong views."""
    names = list(model_inputs(model))
    kinds = ("", "weak_", "strong_")
    missing = [
        f"{kind}{name}"
        for kind in kinds
        for name in names
        if not isinstance(x, Mapping) or f"{kind}{name}" not in x
    ]
    if missing or not names:
        raise ValueError(
            "FixMatch needs a dict of a model's inputs with a weak and a strong view "
            f"of each. Received: a batch without {missing or 'named inputs'}. Make it "
            "by kmmft.data.add_unlabelled."
        )
    if isinstance(y, MixedTargets):
        raise ValueError(
            "Pseudo-labels cannot be added to examples that are mixed already. "
            "Received: FixMatch before Mixup or CutMix among the options. Put it after."
        )
    own, weak, strong = (
        {name: tf.convert_to_tensor(x[f"{kind}{name}"]) for name in names}
        for kind in kinds
    )
    return own, _flat(weak), _flat(strong)


def _flat(views: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Tensors `(batch, u, ...)` as `(batch * u, ...)`."""
    return {
        name: tf.reshape(view, tf.concat([[-1], tf.shape(view)[2:]], 0))
        for name, view in views.items()
    }
