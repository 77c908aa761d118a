"""Training on any number of replicas as on one device, for every kmmft model."""

import inspect
from collections.abc import Sequence

import keras
import tensorflow as tf

from kmmft.training.collectives import all_reduce_sum, num_replicas
from kmmft.training.dropout_seeds import DropoutSeeds
from kmmft.training.micro_batches import supervised_gradients
from kmmft.training.own_inputs import own_inputs
from kmmft.training.step_options import StepOption, check_options


class DistributedTraining:
    """Mixin for a `keras.Model`: what stock Keras does wrong on several replicas.

    With Keras 3.15 under `tf.distribute`, and with this class:

    - Dropout draws one mask for all replicas. Here each draws its own.
    - BatchNorm computes and keeps statistics of its own on each replica. Here they
      are the global batch's.
    - `clipnorm`, `global_clipnorm` and the overflow check of float16 look at one
      replica's gradients. Here gradients are summed first.
    - `gradient_accumulation_steps` fails. Here it is refused, on one device too, and
      `micro_batch_size` does its work on any number of replicas. BatchNorm that
      trains cannot have both, replicas and micro-batches.
    - `fit` fails for boolean inputs and for a first batch of unequal parts, and with
      `MultiWorkerMirroredStrategy`. Here it runs. A global batch that the replicas
      cannot share evenly is an error, since the mean over replicas would be wrong.

    A weight's update is that of one device with the same global batch, up to rounding
    and dropout. Gradients of embeddings are made dense before they are clipped.

    Attributes:
        micro_batch_size: Examples that a replica computes at a time; `None` for all.
            The gradients of the parts are added up before the update, so that memory
            holds one part's activations. Must divide the batch of a replica.
        step_options: `StepOption`s of the train step, such as
            `kmmft.finetuning.FGM()`; the first is innermost. They are no part of the
            model's config.
        finetuning: What `kmmft.finetuning.Plan.apply` returned for this model, or
            `None`; `fit` has it among its callbacks.

    Example:
        >>> class Model(kmmft.training.DistributedTraining, keras.Model):
        ...     pass
        >>> inputs = keras.Input((3,))
        >>> model = Model(inputs, keras.layers.Dense(1)(inputs))
        >>> model.micro_batch_size = 2
        >>> model.compile("sgd", "mse")
        >>> history = model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0)
    """

    micro_batch_size: int | None = None
    finetuning: keras.callbacks.Callback | None = None
    _step_options: tuple[StepOption, ...] = ()
    _is_first_of_fit = False

    @property
    def step_options(self) -> tuple[StepOption, ...]:
        """What the train step does beyond one forward pass; the first is innermost."""
        return self._step_options

    @step_options.setter
    def step_options(self, options: Sequence[StepOption]) -> None:
        # Past Keras' tracking: a teacher's weights are not this model's.
        object.__setattr__(self, "_step_options", check_options(options))
        # A step that was traced has the options of then.
        self.train_function = None

    def train_step(self, data):
        x, y, sample_weight = batch = keras.utils.unpack_x_y_sample_weight(
            self.step_batch(data)
        )
        seeds = self.prepare_replica()
        loss, gradients, y_pred = supervised_gradients(
            self, batch, seeds, self.micro_batch_size
        )
        self.apply_global_gradients(gradients)
        # Keras' losses are parts of a sum over the replicas, its log is of a mean.
        self._loss_tracker.update_state(
            loss * num_replicas(), sample_weight=tf.shape(keras.tree.flatten(x)[0])[0]
        )
        return loggable(self.compute_metrics(x, y, y_pred, sample_weight=sample_weight))

    def test_step(self, data):
        return loggable(super().test_step(self.step_batch(data)))

    def step_batch(self, data):
        """What a step makes of its batch first; a subclass may weigh examples.

        Args:
            data: What a train or test step is given, in replica context.

        Returns:
            The same, or other data of that form.
        """
        return data

    def loss_of_step(self, batch: tuple, outputs) -> tf.Tensor:
        """This replica's part of the global loss: the parts' sum is the loss.

        Args:
            batch: `(x, y, sample_weight)`.
            outputs: What the model made of `x` in training.
        """
        x, y, sample_weight = batch
        return self.compute_loss(x, y, outputs, sample_weight, training=True)

    def prepare_replica(self) -> DropoutSeeds:
        """Sets up a replica for one train step; call it before the forward pass.

        Returns:
            The seeds of the step's dropout.
        """
        _check_no_accumulation(self.optimizer)
        if num_replicas() > 1:
            norms = [
                layer
                for layer in self._flatten_layers()
                if isinstance(layer, keras.layers.BatchNormalization)
            ]
            if self.micro_batch_size is not None:
                _check_frozen(norms)
            for layer in norms:
                layer.synchronized = True
        return DropoutSeeds(self, self.optimizer.iterations.value)

    def apply_global_gradients(self, gradients: list) -> None:
        """Sums the gradients over the replicas and updates the weights.

        Args:
            gradients: One for each of `trainable_variables`, or `None`. They are
                those of the replica's part of the (scaled) global loss.
        """
        dense = [None if g is None else tf.convert_to_tensor(g) for g in gradients]
        stop_own_reduction(self.optimizer)
        summed = all_reduce_sum(dense)
        for option in self.step_options:
            summed = option.change_gradients(self, summed)
        self.optimizer.apply(summed, self.trainable_variables)

    def fit(self, *args, **kwargs):
        self._is_first_of_fit = True
        if self.finetuning is not None:
            call = inspect.signature(super().fit).bind(*args, **kwargs)
            given = call.arguments.get("callbacks")
            call.arguments["callbacks"] = _with_callback(given, self.finetuning)
            args, kwargs = call.args, call.kwargs
        return super().fit(*args, **kwargs)

    def make_train_function(self, force: bool = False) -> None:
        # On one device Keras traces a step twice that makes the optimizer's variables.
        # A plan makes them itself, for all weights that will ever train.
        optimizer = self.optimizer
        waits = self.built and optimizer is not None and not optimizer.built
        if waits and self.finetuning is None:
            with self.distribute_strategy.scope():
                optimizer.build(self.trainable_variables)
        super().make_train_function(force)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Overrides a private method of Keras' TensorFlow trainer, which would build
        # the model from the sum of the replicas' batches.
        if self._distribute_strategy is None:
            return
        strategy = self.distribute_strategy
        if iterator is not None:
            for _, _, distributed in iterator:
                batch = next(distributed)
                if self._is_first_of_fit:
                    self._check_parts(batch)
                data_batch = tf.nest.map_structure(
                    lambda value: strategy.experimental_local_results(value)[0], batch
                )
                break
        self._is_first_of_fit = False
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data_batch)
        if y is not None:
            # What options of the step take beside is none of the model's.
            data_batch = (own_inputs(self, x), y, sample_weight)
        with strategy.scope():
            self._symbolic_build(data_batch=data_batch)

    def _check_parts(self, batch) -> None:
        """Raises a ValueError unless all replicas have as much of a batch."""
        sizes = uneven_sizes(self.distribute_strategy, batch)
        if sizes:
            raise ValueError(
                "The global batch must divide by the number of replicas. Received: "
                f"parts of {sizes} examples on {len(sizes)} replicas. Choose a batch "
                f"size that is a multiple of {len(sizes)}, and batch with "
                "`drop_remainder=True`."
            )


def _with_callback(given, callback: keras.callbacks.Callback):
    """The callbacks given to `fit`, with another one before them if it is not there."""
    if isinstance(given, keras.callbacks.CallbackList):
        if callback not in given.callbacks:
            given.append(callback)
        return given
    given = keras.tree.flatten(given) if given is not None else []
    return given if callback in given else [callback, *given]


def stop_own_reduction(optimizer: keras.optimizers.Optimizer) -> None:
    """Makes a Keras optimizer take gradients that are summed already.

    It then clips, and looks for overflow, after the sum.
    """
    # Overrides a private method, on the object that the user made.
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    inner._all_reduce_sum_gradients = list


def loggable(logs: dict) -> dict:
    """Logs of a step in the shape in which Keras can take a mean over workers."""
    strategy = tf.distribute.get_strategy()
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return logs
    return {key: tf.reshape(value, [1]) for key, value in logs.items()}


def _check_no_accumulation(optimizer) -> None:
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if inner.gradient_accumulation_steps:
        raise ValueError(
            "`gradient_accumulation_steps` does not work with kmmft's models. "
            f"Received: {inner.gradient_accumulation_steps} steps. "
            "Set the model's `micro_batch_size` and a larger batch instead."
        )


def _check_frozen(norms: list[keras.layers.BatchNormalization]) -> None:
    training = [layer.name for layer in norms if layer.trainable]
    if training:
        # TensorFlow's replicas cannot speak with each other within a loop.
        raise ValueError(
            "BatchNorm cannot train in micro-batches on several replicas. Received: "
            f"the trainable layers {training}. Freeze them, or set "
            "`micro_batch_size=None`."
        )


def uneven_sizes(strategy: tf.distribute.Strategy, batch) -> list[int]:
    """Sizes of the replicas' parts of a batch; none if they are alike, and not 0."""
    first = next(value for value in tf.nest.flatten(batch) if value is not None)
    sizes = [len(part) for part in strategy.experimental_local_results(first)]
    return sizes if len(set(sizes)) > 1 or 0 in sizes else []
