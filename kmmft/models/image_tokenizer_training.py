"""The train step of an image tokenizer: reconstruction against a discriminator."""

import keras
import tensorflow as tf
from keras import ops

from kmmft.models.perceptual_distance import PerceptualDistance
from kmmft.training import DistributedTraining
from kmmft.training.collectives import all_gather, all_reduce_sum, num_replicas
from kmmft.training.distributed import loggable

_TRACKED = ("l1", "perceptual", "commitment", "adversarial", "discriminator", "usage")


class ImageTokenizerTraining(DistributedTraining):
    """Mixin for `ImageTokenizer`: learns to draw images again.

    The loss is the mean absolute error of pixels in [-1, 1], plus the perceptual
    distance, plus how far vectors are from their codes (commitment), plus what a patch
    discriminator says of the drawing. The discriminator learns beside it by the hinge
    loss, with the same optimizer. The adversarial term is weighed so that its gradient
    at the last layer is as large as that of the reconstruction.

    Updates are those of one device, on any number of replicas.
    """

    def make_trackers(self) -> None:
        """Makes the means that `fit` logs. Call it in the constructor."""
        self.trackers = {name: keras.metrics.Mean(name) for name in _TRACKED}

    def compile(
        self,
        optimizer="adamw",
        perceptual: PerceptualDistance | None = None,
        perceptual_weight: float = 1.0,
        commitment_weight: float = 0.25,
        adversarial_weight: float = 0.1,
        adversarial_start: int = 0,
        **kwargs,
    ) -> None:
        """As `keras.Model.compile`, with the tokenizer's own losses.

        Args:
            optimizer: A Keras optimizer or its name, for both networks.
            perceptual: Compares images by a pretrained encoder; `None`: by pixels
                alone.
            perceptual_weight: Weight of the perceptual distance.
            commitment_weight: Weight of the distance between vectors and codes.
            adversarial_weight: Share of the reconstruction's gradient that the
                adversarial one gets; 0 for none.
            adversarial_start: Steps before the discriminator has a say. Before it, it
                does not learn either.
            **kwargs: Further arguments of `keras.Model.compile`.

        Raises:
            ValueError: If a loss or metrics are given.
        """
        for option in ("loss", "metrics", "weighted_metrics"):
            if kwargs.get(option) is not None:
                raise ValueError(
                    "An ImageTokenizer has its own losses. "
                    f"Received: {option}={kwargs[option]!r}."
                )
        # Past Keras' tracking: the encoder's weights are not this model's.
        object.__setattr__(self, "_perceptual", perceptual)
        self._weights_of_losses = {
            "perceptual": perceptual_weight,
            "commitment": commitment_weight,
            "adversarial": adversarial_weight,
        }
        self._adversarial_start = adversarial_start
        super().compile(optimizer=optimizer, **kwargs)

    def get_compile_config(self) -> None:
        # The perceptual encoder is in no file: who trains on compiles anew.
        return None

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        loss = [self._loss_tracker] if self._loss_tracker is not None else []
        return [*loss, *self.trackers.values()]

    def train_step(self, data):
        image = _images(data)
        self._check_options()
        self.prepare_replica().set()
        with tf.GradientTape(persistent=True) as tape:
            outputs = self(image, training=True)
            losses = self._image_losses(image, outputs)
            drawn_logits = self.discriminator(_scaled(outputs["image"]), training=True)
            losses["adversarial"] = -tf.reduce_mean(drawn_logits)
            # Its gradient is asked for at the discriminator's weights alone.
            real_logits = self.discriminator(_scaled(image), training=True)
            losses["discriminator"] = _hinge_loss(real_logits, drawn_logits)
            reconstruction = self._reconstruction(losses)
            smooth = reconstruction + self._weighted(losses, "commitment")
        weight = self._adversarial_factor(tape, reconstruction, losses["adversarial"])
        total = smooth + weight * losses["adversarial"]
        gradients = self._gradients(tape, smooth, losses, weight)
        del tape
        self._update_codebook(outputs)
        self.apply_global_gradients(gradients)
        return self._logs(losses, total, image)

    def test_step(self, data):
        image = _images(data)
        outputs = self(image, training=False)
        losses = self._image_losses(image, outputs)
        total = self._reconstruction(losses) + self._weighted(losses, "commitment")
        return self._logs(losses, total, image)

    def _image_losses(self, image, outputs) -> dict[str, tf.Tensor]:
        """Means over this replica's images."""
        drawn = outputs["image"]
        ids = tf.reshape(outputs["token_ids"], tf.shape(outputs["vectors"])[:-1])
        codes = tf.stop_gradient(self.codebook.lookup(ids))
        vectors = tf.cast(outputs["vectors"], tf.float32)
        losses = {
            "l1": tf.reduce_mean(tf.abs(_scaled(image) - _scaled(drawn))),
            "commitment": tf.reduce_mean(tf.square(vectors - codes)),
            "usage": self._usage(outputs["token_ids"]),
        }
        if self._perceptual is not None:
            losses["perceptual"] = tf.reduce_mean(self._perceptual(image, drawn))
        return losses

    def _weighted(self, losses, name) -> tf.Tensor:
        return self._weights_of_losses[name] * losses.get(name, 0.0)

    def _reconstruction(self, losses) -> tf.Tensor:
        return losses["l1"] + self._weighted(losses, "perceptual")

    def _usage(self, ids) -> tf.Tensor:
        """Share of the codes that this replica's images use."""
        used = tf.math.bincount(tf.reshape(ids, [-1]), minlength=self.num_codes) > 0
        return tf.reduce_mean(tf.cast(used, tf.float32))

    def _has_started(self) -> tf.Tensor:
        step = self.optimizer.iterations.value
        return tf.cast(step >= self._adversarial_start, tf.float32)

    def _adversarial_factor(self, tape, reconstruction, adversarial) -> tf.Tensor:
        """What the adversarial loss counts (Esser et al., eq. 7)."""
        last = self.drawing.get_layer("pixels").kernel.value
        # Of the whole batch, not of this replica's part of it.
        wanted, given = all_reduce_sum(
            [tape.gradient(loss, last) for loss in (reconstruction, adversarial)]
        )
        factor = tf.norm(wanted) / (tf.norm(given) + 1e-4)
        factor = tf.clip_by_value(factor, 0.0, 1e4) * self._has_started()
        return tf.stop_gradient(self._weights_of_losses["adversarial"] * factor)

    def _gradients(self, tape, smooth, losses, weight) -> list[tf.Tensor]:
        """Of the global loss, a part of which each replica has."""
        share = self.optimizer.scale_loss(tf.constant(1.0)) / num_replicas()
        critics = {id(variable) for variable in self.discriminator.trainable_variables}
        variables = self.trainable_variables
        drawing = [v.value for v in variables if id(v) not in critics]
        judging = [v.value for v in variables if id(v) in critics]
        zero = {"unconnected_gradients": "zero"}
        drawn = iter(
            tape.gradient(
                [smooth, losses["adversarial"]],
                drawing,
                output_gradients=[share, share * weight],
                **zero,
            )
        )
        judged = iter(
            tape.gradient(
                losses["discriminator"],
                judging,
                output_gradients=share * self._has_started(),
                **zero,
            )
        )
        return [next(judged if id(v) in critics else drawn) for v in variables]

    def _update_codebook(self, outputs) -> None:
        vectors, ids = outputs["vectors"], outputs["token_ids"]
        ids = tf.reshape(ids, tf.shape(vectors)[:-1])
        counts, sums = all_reduce_sum(list(self.codebook.statistics(vectors, ids)))
        everybody = all_gather(tf.cast(vectors, tf.float32))
        flat = tf.reshape(everybody, (-1, self.code_dim))
        # The same on all replicas, and again after a kill.
        chosen = tf.random.stateless_uniform(
            (self.num_codes,),
            seed=tf.stack([0, tf.cast(self.optimizer.iterations.value, tf.int32)]),
            maxval=tf.shape(flat)[0],
            dtype=tf.int32,
        )
        self.codebook.update(counts, sums, tf.gather(flat, chosen))

    def _logs(self, losses, total, image) -> dict:
        rows = tf.shape(image)[0]
        self._loss_tracker.update_state(total, sample_weight=rows)
        for name, value in losses.items():
            self.trackers[name].update_state(value, sample_weight=rows)
        return loggable({metric.name: metric.result() for metric in self.metrics})

    def _check_options(self) -> None:
        if self.micro_batch_size is not None or self.step_options:
            raise ValueError(
                "An ImageTokenizer trains whole batches, without step options. "
                f"Received: micro_batch_size={self.micro_batch_size}, "
                f"step_options={list(self.step_options)}."
            )


def _images(data) -> tf.Tensor:
    image, _, _ = keras.utils.unpack_x_y_sample_weight(data)
    image = image["image"] if isinstance(image, dict) else image
    return tf.cast(image, tf.float32)


def _hinge_loss(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    return 0.5 * tf.reduce_mean(tf.nn.relu(1 - real) + tf.nn.relu(1 + fake))


def _scaled(image) -> tf.Tensor:
    return ops.cast(image, "float32") / 127.5 - 1
