"""A train step with two losses: one of vectors, and one of written words."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from kmmft.models.contrastive_training import ContrastiveTraining
from kmmft.training import DropoutSeeds, micro_batches
from kmmft.training.collectives import all_reduce_sum, num_replicas
from kmmft.training.distributed import loggable


class CoCaTraining(ContrastiveTraining):
    """Mixin that adds the loss of a text's words to the contrastive loss.

    One forward pass gives both. Negatives are the global batch's, and the words' loss
    is the mean over the global batch's words, so that the update is that of one device
    on any number of replicas. The logs have the losses one by one, without weights.

    The model has `contrastive_weight`, `caption_weight`, and the outputs `image`,
    `text` and `logits`.
    """

    def make_trackers(self) -> None:
        """Makes the means that `fit` logs. Call it in the constructor."""
        self.trackers = {
            name: keras.metrics.Mean(name=name)
            for name, weight in self._weights().items()
            if weight
        }

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        loss = [self._loss_tracker] if self._loss_tracker is not None else []
        return [*loss, *self.trackers.values()]

    def step_gradients(
        self, inputs: Mapping, group: tf.Tensor | None, seeds: DropoutSeeds
    ) -> tuple[tf.Tensor, list]:
        if self.micro_batch_size is not None:
            raise ValueError(
                "Gradients of two losses are not cached. Received: micro_batch_size="
                f"{self.micro_batch_size}. Set it to None, and use a smaller batch."
            )
        return super().step_gradients(inputs, group, seeds)

    def loss_of_step(self, batch: tuple, outputs: Mapping) -> tf.Tensor:
        inputs, group, _ = batch
        parts = {
            "contrastive_loss": lambda: self._own_loss(outputs, inputs, group),
            "caption_loss": lambda: _own_word_loss(outputs["logits"], inputs),
        }
        rows = tf.shape(outputs["logits"])[0]
        loss = micro_batches.additional_loss(self) / num_replicas()
        weights = self._weights()
        for name, tracker in self.trackers.items():
            part = parts[name]()
            # Parts of a sum over the replicas; the log is a mean over them.
            tracker.update_state(part * num_replicas(), sample_weight=rows)
            loss += weights[name] * part
        return loss

    def _weights(self) -> dict[str, float]:
        return {
            "contrastive_loss": self.contrastive_weight,
            "caption_loss": self.caption_weight,
        }

    def _embed(self, inputs: Mapping, training: bool) -> dict[str, tf.Tensor]:
        self._clear_losses()
        return self(inputs, training=training)

    def _unpack(self, data) -> tuple:
        inputs, group = super()._unpack(data)
        others = [x for x in inputs if x.startswith(("negative_", "teacher_"))]
        if others:
            raise ValueError(
                "A CoCa has neither hard negatives nor teachers. "
                f"Received: {sorted(others)}. Leave them out of the batch."
            )
        return inputs, group

    def _logs(self, loss: tf.Tensor, inputs: Mapping) -> dict[str, tf.Tensor]:
        parts = {name: x.result() for name, x in self.trackers.items()}
        return {**super()._logs(loss, inputs), **loggable(parts)}


def _own_word_loss(logits: tf.Tensor, inputs: Mapping) -> tf.Tensor:
    """This replica's part of the mean over the global batch's words."""
    real = tf.cast(inputs["padding_mask"][:, 1:], tf.float32)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        inputs["token_ids"][:, 1:], logits
    )
    (words,) = all_reduce_sum([tf.reduce_sum(real)])
    return tf.math.divide_no_nan(tf.reduce_sum(losses * real), words)
