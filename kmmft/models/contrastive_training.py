"""One contrastive train step, on any number of replicas and in any memory."""

import itertools
from collections.abc import Mapping

import keras
import tensorflow as tf

from kmmft.losses import ContrastiveLoss, Embeddings, InfoNCE
from kmmft.models.contrastive_batch import check_batch
from kmmft.training import (
    DistributedTraining,
    DropoutSeeds,
    gradient_caching,
    micro_batches,
)
from kmmft.training.collectives import all_reduce_sum, num_replicas
from kmmft.training.distributed import loggable
from kmmft.training.global_batch import gather_embeddings, own_numbers
from kmmft.training.restored_compile import RestoredCompile
from kmmft.training.step_options import wrapped_forward, wraps_forward


class ContrastiveTraining(RestoredCompile, DistributedTraining):
    """Mixin for a model with towers: compares each example with all of the batch.

    The negatives are those of the global batch: a replica's queries are compared with
    the candidates of all replicas, and the gradients go back to where the candidates
    came from. Loss and updates are those of one device with the same global batch.
    With `micro_batch_size` the gradients are cached: same update, less memory.

    The model has `towers`, `loss_function`, `logit_scale_layer` and the methods of
    `RawInputs` and `Encoding`. A batch is `(inputs, group)`, or `inputs` alone;
    `group` is an int tensor `(batch,)`: examples of the same group are not negatives
    of each other. Beside the towers' inputs there may be

    - `negative_<input>` `(batch, count, ...)`: explicit hard negatives,
    - `teacher_<modality>` `(batch, dim)`: a teacher's vectors, to be distilled.
    """

    @property
    def logit_scale(self) -> tf.Tensor:
        """float32 scalar, the learnt factor on cosines or scores."""
        return self.logit_scale_layer.scale()

    def compile(self, optimizer="adamw", loss: ContrastiveLoss | None = None, **kwargs):
        """As `keras.Model.compile`, with a contrastive loss.

        Args:
            optimizer: A Keras optimizer or its name.
            loss: A loss of `kmmft.losses`; default: `InfoNCE()`.
            **kwargs: Further arguments of `keras.Model.compile`. There are no metrics
                of batches: `kmmft.evaluation.RetrievalEvaluator` looks at all data.

        Raises:
            ValueError: If the loss is none that the model can compute, or there are
                metrics.
        """
        loss = InfoNCE() if loss is None else loss
        self.check_loss(loss)
        for option in ("metrics", "weighted_metrics", "loss_weights"):
            if kwargs.get(option) is not None:
                raise ValueError(
                    f"A {type(self).__name__} has one loss, and no metrics of batches. "
                    f"Received: {option}={kwargs[option]!r}. Measure by the callback "
                    "kmmft.evaluation.RetrievalEvaluator."
                )
        self.loss_function = loss
        self.forget_graphs()
        super().compile(optimizer=optimizer, **kwargs)

    def check_loss(self, loss: ContrastiveLoss) -> None:
        """Raises a ValueError unless the model can compute this loss."""
        if not isinstance(loss, ContrastiveLoss):
            raise ValueError(
                "`loss` must be a contrastive loss, such as kmmft.losses.InfoNCE(). "
                f"Received: loss={loss!r}."
            )

    def get_compile_config(self) -> dict | None:
        config = super().get_compile_config()
        if config is None or self.loss_function is None:
            return config
        loss = keras.saving.serialize_keras_object(self.loss_function)
        return {**config, "loss": loss}

    def prepare_batch(self, batch: Mapping, keep_records: bool = False):
        """Makes what `fit` takes: a `batch_preprocess` for `build_dataset`.

        Args:
            batch: Batch of decoded records with one value a modality: for captions
                see `kmmft.data.choose_caption`. `example_group` says which examples
                are not negatives of each other; default: those of the same `id`.
                `negative_<modality>` `(batch, count)` are explicit hard negatives,
                `teacher_<modality>` a teacher's vectors.
            keep_records: Whether to return the records beside the model's inputs, in
                one dict.

        Returns:
            `(inputs, group)`, or a dict.
        """
        inputs = self.preprocess({name: batch[name] for name in self.encoders})
        for modality in self.encoders:
            negative, teacher = f"negative_{modality}", f"teacher_{modality}"
            if negative in batch:
                inputs |= self._prepare_negatives(modality, batch[negative])
            if teacher in batch:
                inputs[teacher] = batch[teacher]
        if keep_records:
            return {**batch, **inputs}
        if "example_group" in batch:
            return inputs, tf.cast(batch["example_group"], tf.int64)
        if "id" in batch:
            return inputs, tf.strings.to_hash_bucket_fast(batch["id"], 2**62)
        return inputs

    def _prepare_negatives(self, modality: str, raw: tf.Tensor) -> dict:
        count = raw.shape[1]
        if count is None:
            raise ValueError(
                "All batches must have one known number of hard negatives. Received: "
                f"`negative_{modality}` of shape {raw.shape}. Batch as many for each "
                "example."
            )
        # Frames and pixels of one thing stay together.
        flat = tf.reshape(raw, tf.concat([[-1], tf.shape(raw)[2:]], axis=0))
        return {
            f"negative_{key}": tf.reshape(
                value, tf.concat([[-1, count], tf.shape(value)[1:]], axis=0)
            )
            for key, value in self.preprocess_modality(modality, flat).items()
        }

    def train_step(self, data):
        inputs, group = self._unpack(data)
        seeds = self.prepare_replica()
        loss, gradients = self.step_gradients(inputs, group, seeds)
        self.apply_global_gradients(gradients)
        return self._logs(loss, inputs)

    def step_gradients(
        self, inputs: Mapping, group: tf.Tensor | None, seeds: DropoutSeeds
    ) -> tuple[tf.Tensor, list]:
        """This replica's part of the loss, and the gradients of its scaled value."""
        if self.micro_batch_size is not None:
            self._check_options_can_be_cached()
            return self._cached_gradients(inputs, group, seeds)
        forward = wrapped_forward(
            self, lambda batch: self._embed(batch[0], True), seeds
        )
        with tf.GradientTape() as tape:
            loss, _ = forward((inputs, group, None))
            scaled = self.optimizer.scale_loss(loss)
        return loss, tape.gradient(scaled, self.trainable_variables)

    def test_step(self, data):
        inputs, group = self._unpack(data)
        loss = self.loss_of_step((inputs, group, None), self._embed(inputs, False))
        return self._logs(loss, inputs)

    def loss_of_step(self, batch: tuple, outputs: Mapping) -> tf.Tensor:
        inputs, group, _ = batch
        loss = self._own_loss(outputs, inputs, group)
        return loss + micro_batches.additional_loss(self) / num_replicas()

    def _check_options_can_be_cached(self) -> None:
        wrapping = [option for option in self.step_options if wraps_forward(option)]
        if wrapping:
            raise ValueError(
                "Cached gradients cannot go with options that change the forward pass. "
                f"Received: micro_batch_size={self.micro_batch_size} with {wrapping}. "
                "Set `micro_batch_size=None`, or leave the options out."
            )

    def _unpack(self, data) -> tuple:
        inputs, group, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        names = {modality: self.input_names_of(modality) for modality in self.towers}
        check_batch(names, inputs, group, sample_weight)
        return inputs, group

    def _logs(self, loss: tf.Tensor, inputs: Mapping) -> dict[str, tf.Tensor]:
        (loss,) = all_reduce_sum([loss])
        rows = tf.shape(inputs[next(iter(self.input))])[0]
        self._loss_tracker.update_state(loss, sample_weight=rows)
        logs = {"loss": self._loss_tracker.result(), "logit_scale": self.logit_scale}
        return loggable(logs)

    def _embed(self, inputs: Mapping, training: bool) -> dict[str, tf.Tensor]:
        """Vectors by modality, and of hard negatives as `negative_<modality>`."""
        self._clear_losses()
        vectors, hard = {}, self._negatives(inputs)
        for modality, tower in self.towers.items():
            own = self.select(modality, inputs)
            if modality not in hard:
                vectors[modality] = tower(own, training=training)
                continue
            # In one call: a second one would clear the losses that the first added.
            rows, count = (
                tf.shape(tf.nest.flatten(own)[0])[0],
                hard[modality][0].shape[1],
            )
            both = [
                tf.concat([x, tf.reshape(y, [-1, *y.shape[2:]])], axis=0)
                for x, y in zip(tf.nest.flatten(own), hard[modality], strict=True)
            ]
            both = tower(tf.nest.pack_sequence_as(own, both), training=training)
            vectors[modality] = both[:rows]
            vectors[f"negative_{modality}"] = tf.reshape(
                both[rows:], [-1, count, both.shape[-1]]
            )
        return vectors

    def _negatives(self, inputs: Mapping) -> dict[str, list[tf.Tensor]]:
        given = {
            key.removeprefix("negative_"): value
            for key, value in inputs.items()
            if key.startswith("negative_")
        }
        return {
            modality: tf.nest.flatten(self.select(modality, given))
            for modality, tower in self.towers.items()
            if set(self.input_names_of(modality)) <= set(given)
        }

    def _own_loss(self, vectors: Mapping, inputs: Mapping, group) -> tf.Tensor:
        """This replica's part of the global loss: the parts' sum is the loss."""
        rows = tf.shape(next(iter(vectors.values())))[0]
        index, pairs = own_numbers(rows)
        group = index if group is None else tf.reshape(tf.cast(group, tf.int64), [-1])
        own = {
            modality: Embeddings(
                vectors[modality], group, index, inputs.get(f"teacher_{modality}")
            )
            for modality in self.towers
        }
        negatives = {
            modality: tf.reshape(hard, [-1, hard.shape[-1]])
            for modality in self.towers
            if (hard := vectors.get(f"negative_{modality}")) is not None
        }
        everyone = gather_embeddings(own, negatives)
        one_way = self.loss_function.symmetric and not negatives
        total = self._sum_of_directions(own, everyone, one_way)
        return total / tf.cast(pairs, tf.float32)

    def _sum_of_directions(self, own: dict, everyone: dict, one_way: bool) -> tf.Tensor:
        options = {
            "logit_scale": self.logit_scale,
            "logit_bias": self.logit_bias,
            "step": tf.convert_to_tensor(self.optimizer.iterations),
        }
        loss = self.loss_function
        if loss.joint:
            queries = Embeddings.join(list(own.values()))
            candidates = Embeddings.join(list(everyone.values()))
            total = tf.reduce_sum(loss.directed(queries, candidates, **options))
            return total / len(own)
        directions = itertools.combinations if one_way else itertools.permutations
        totals = [
            tf.reduce_sum(loss.directed(own[query], everyone[candidate], **options))
            for query, candidate in directions(own, 2)
        ]
        return tf.add_n(totals) / len(totals)

    def _cached_gradients(self, inputs, group, seeds):
        size = self.micro_batch_size
        parts, number = micro_batches.split(inputs, size)
        specs = {
            modality: tf.TensorSpec([size, *tower.output.shape[1:]], tf.float32)
            for modality, tower in self.towers.items()
        }
        for modality, negatives in self._negatives(inputs).items():
            shape = [size, negatives[0].shape[1], specs[modality].shape[-1]]
            specs[f"negative_{modality}"] = tf.TensorSpec(shape, tf.float32)
        return gradient_caching.cached_gradients(
            self,
            lambda index: self._embed(micro_batches.part_of(parts, index), True),
            number,
            specs,
            lambda vectors: self._own_loss(vectors, inputs, group),
            seeds,
        )
