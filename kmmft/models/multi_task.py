"""Several models that share encoders, trained together."""

import collections
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from kmmft.models.multi_task_evaluation import MultiTaskEvaluation
from kmmft.models.multi_task_serving import MultiTaskServing
from kmmft.models.multi_task_training import MultiTaskTraining
from kmmft.models.shared_configs import mark_shared, sharing
from kmmft.models.task_weights import FixedWeights, TaskWeights
from kmmft.training import DistributedTraining
from kmmft.training.restored_compile import RestoredCompile


@keras.saving.register_keras_serializable("kmmft")
class MultiTask(
    MultiTaskEvaluation,
    MultiTaskServing,
    RestoredCompile,
    MultiTaskTraining,
    keras.Model,
):
    """Trains models that share encoders, each on its own data with its own loss.

    The models are made of the same encoder objects, whose weights are stored, counted
    and updated once. Each step sees a batch of every task (`kmmft.data.mix_tasks`) and
    makes one update with the sum of the tasks' losses, times `loss_weights`. A task's
    loss is what it would be alone, under replicas, in micro-batches and with
    `step_options` too; only the penalties of weights (`regularizer`s) count once for
    all tasks. With `in_turns` each task makes an update of its own instead, one after
    the other, so a step of `fit` is a step of the optimizer for each task.

    `model.tasks["vqa"]` is the trained model of one task, to be used, exported or
    saved alone; an export of the whole serves all tasks. The models take their tasks'
    names, so that rules of a `kmmft.finetuning.Plan` speak of `vqa/logits/kernel`;
    layers that tasks share are named without a task, as `image_encoder/...`.

    Args:
        tasks: kmmft models by task, two or more. Each shares weights with another.
        loss_weights: Positive numbers by task (1 for tasks left out), or
            `UncertaintyWeights` or `GradNorm`, which learn them.
        project_conflicts: Whether to take out of the tasks' gradients, on the weights
            that they share, what they take away from each other (PCGrad).
        in_turns: Whether each task makes its own update. Without `loss_weights` and
            `project_conflicts`.
        seed: Of the order of PCGrad's projections. Any int.

    Call arguments:
        inputs: dict of the inputs of some tasks, or of all, by task.

    Returns:
        dict of outputs by task.

    Raises:
        ValueError: If there are fewer than two tasks, a model is none of kmmft's, a
            task shares no weight, names come twice, or options exclude each other.

    Example:
        >>> encoder = kmmft.encoders.ImageEncoder(
        ...     keras_hub.models.ViTBackbone((32, 32, 3), 16, 1, 2, 8, 16)
        ... )
        >>> def classifier(*class_names):
        ...     return kmmft.models.FusionClassifier(
        ...         {"image": encoder}, fusion=None, class_names=class_names
        ...     )
        >>> model = kmmft.models.MultiTask(
        ...     {"animal": classifier("cat", "dog"), "place": classifier("in", "out")},
        ...     loss_weights={"place": 0.5},
        ... )
        >>> model.compile(kmmft.training.AdamW(1e-3))
        >>> images = tf.data.Dataset.from_tensor_slices(np.ones((12, 32, 32, 3)))
        >>> labelled = tf.data.Dataset.zip(images, tf.data.Dataset.range(12)).map(
        ...     lambda image, number: ({"image": image}, number % 2)
        ... )
        >>> data = kmmft.data.mix_tasks(
        ...     {"animal": labelled, "place": labelled}, batch_size=4
        ... )
        >>> history = model.fit(data, steps_per_epoch=6, verbose=0)
        >>> sorted(history.history)
        ['animal_accuracy', 'animal_loss', 'loss', 'place_accuracy', 'place_loss']
        >>> model.tasks["animal"]({"image": np.ones((2, 32, 32, 3))}).shape
        TensorShape([2, 2])

    References:
        - [Caruana, 1997](https://doi.org/10.1023/A:1007379606734), section 2.
        - [Yu et al., 2020](https://arxiv.org/abs/2001.06782) (`project_conflicts`).
    """

    def __init__(
        self,
        tasks: Mapping[str, keras.Model],
        loss_weights: Mapping[str, float] | TaskWeights | None = None,
        project_conflicts: bool = False,
        in_turns: bool = False,
        seed: int = 0,
        name: str = "multi_task",
        **kwargs,
    ):
        _check_models(tasks)
        if in_turns:
            _check_nothing_to_weigh(loss_weights, project_conflicts)
        super().__init__(name=name, **kwargs)
        # === Layers ===
        self.shared_layers = _shared_layers(tasks)
        _check_names(tasks, self.shared_layers)
        for task, model in tasks.items():
            model.name = task
        self.tasks = dict(tasks)
        if not isinstance(loss_weights, TaskWeights):
            loss_weights = FixedWeights(loss_weights, name="task_weights")
        loss_weights.begin({task: _scale(model) for task, model in tasks.items()})
        self.loss_weights = loss_weights
        # === Config ===
        # One optimizer for all: it scales the loss if any task is in float16.
        self.dtype_policy = min(
            (model.dtype_policy for model in tasks.values()),
            key=lambda policy: policy.name != "mixed_float16",
        )
        self.project_conflicts = project_conflicts
        self.in_turns = in_turns
        self.seed = seed
        self.built = True

    def call(self, inputs, training=None):
        self.check_tasks(inputs)
        return {
            task: self.tasks[task](own, training=training)
            for task, own in inputs.items()
        }

    def compile(
        self,
        optimizer="adamw",
        losses: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        **kwargs,
    ) -> None:
        """Compiles all tasks, with one optimizer.

        Args:
            optimizer: A Keras optimizer or its name.
            losses: By task, what its own `compile` takes as `loss`; its own default
                for tasks that are left out.
            metrics: By task, what its own `compile` takes as `metrics`; likewise.
            **kwargs: `run_eagerly`, `jit_compile`, `steps_per_execution` or
                `auto_scale_loss`, as in `keras.Model.compile`.

        Raises:
            ValueError: If a loss or metrics are for no task of the model.
        """
        options = {"loss": dict(losses or {}), "metrics": dict(metrics or {})}
        for given in options.values():
            self.check_tasks(given)
        super().compile(optimizer=optimizer, **kwargs)
        _exclude_from_weight_decay(self.optimizer, self.loss_weights.weights)
        for task, model in self.tasks.items():
            own = {name: x[task] for name, x in options.items() if task in x}
            model.compile(optimizer=self.optimizer, **own, **kwargs)
        self._task_options = {"losses": options["loss"], "metrics": options["metrics"]}

    def get_compile_config(self) -> dict | None:
        config = super().get_compile_config()
        if not config:
            return config
        serialize = keras.saving.serialize_keras_object
        own = {name: serialize(dict(x)) for name, x in self._task_options.items()}
        kept = ("optimizer", "run_eagerly", "steps_per_execution", "jit_compile")
        return {**{name: config[name] for name in kept if name in config}, **own}

    def check_tasks(self, given: Iterable[str], all_of_them: bool = False) -> None:
        """Raises a ValueError unless the names are those of tasks."""
        given = set(given) if isinstance(given, Mapping) else {type(given).__name__}
        missing = set(self.tasks) - given if all_of_them else set()
        if missing or not given <= set(self.tasks):
            raise ValueError(
                f"Expected a dict with the tasks {list(self.tasks)}. Received: "
                f"{sorted(given)}. kmmft.data.mix_tasks makes such batches."
            )

    # === Config ===
    def get_config(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        # A list of pairs: dicts come back from JSON in another order.
        tasks = [[task, serialize(model)] for task, model in self.tasks.items()]
        mark_shared(tasks, self.shared_layers)
        for _, config in tasks:
            # This model compiles its tasks.
            config.pop("compile_config", None)
        return {
            "name": self.name,
            "trainable": self.trainable,
            "tasks": tasks,
            "loss_weights": None if self.in_turns else serialize(self.loss_weights),
            "project_conflicts": self.project_conflicts,
            "in_turns": self.in_turns,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        deserialize = keras.saving.deserialize_keras_object
        config = dict(config)
        with sharing():
            config["tasks"] = {
                task: deserialize(model, custom_objects)
                for task, model in config["tasks"]
            }
        config["loss_weights"] = deserialize(config["loss_weights"], custom_objects)
        return cls(**config)


def _scale(model: keras.Model) -> float:
    """1/2 where a task's loss is a squared error, as `TaskWeights` wants it."""
    return 0.5 if getattr(model, "task", None) == "regression" else 1.0


def _exclude_from_weight_decay(optimizer, weights: list[keras.Variable]) -> None:
    # Keras' own method would forget what the user excluded.
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    inner._exclude_from_weight_decay = {
        *getattr(inner, "_exclude_from_weight_decay", ()),
        *(inner._var_key(weight) for weight in weights),
    }
    inner._exclude_from_weight_decay_cache = {}


def _direct_layers(model: keras.Model) -> list[keras.layers.Layer]:
    return [
        layer
        for layer in model._flatten_layers(include_self=False, recursive=False)
        if not isinstance(layer, keras.layers.InputLayer)
    ]


def _shared_layers(tasks: Mapping[str, keras.Model]) -> list[keras.layers.Layer]:
    """Layers with weights that stand directly in several tasks, encoders above all."""
    layers = [x for task in tasks.values() for x in _direct_layers(task)]
    counts = collections.Counter(map(id, layers))
    shared = {id(x): x for x in layers if counts[id(x)] > 1 and x.weights}
    return list(shared.values())


def _check_models(tasks: Mapping[str, keras.Model]) -> None:
    if len(tasks) < 2 or len({id(model) for model in tasks.values()}) < len(tasks):
        raise ValueError(
            "MultiTask needs two tasks or more, each with a model of its own. "
            f"Received: {dict(tasks)}."
        )
    wrong = {
        task: type(model).__name__
        for task, model in tasks.items()
        if not isinstance(model, DistributedTraining) or isinstance(model, MultiTask)
    }
    if wrong:
        raise ValueError(
            "The models of the tasks must be kmmft's, or have the mixin "
            f"kmmft.training.DistributedTraining. Received: {wrong}."
        )
    owners = collections.Counter(
        id(weight) for model in tasks.values() for weight in model.weights
    )
    alone = [
        task
        for task, model in tasks.items()
        if all(owners[id(weight)] == 1 for weight in model.weights)
    ]
    if alone:
        raise ValueError(
            "Each task must share weights with another one. Received: none shared by "
            f"{alone}. Build the models with the same encoder objects, or train them "
            "apart."
        )


def _check_nothing_to_weigh(loss_weights, project_conflicts: bool) -> None:
    if loss_weights is not None or project_conflicts:
        raise ValueError(
            "Tasks that train in turns have nothing to weigh or to project. "
            f"Received: in_turns=True, loss_weights={loss_weights!r}, "
            f"project_conflicts={project_conflicts}. Leave `in_turns` out."
        )


def _check_names(tasks: Mapping[str, keras.Model], shared: list) -> None:
    names = collections.Counter([*tasks, *(layer.name for layer in shared)])
    repeated = {name for name, count in names.items() if count > 1}
    kinds = {(type(layer), layer.name): layer for layer in shared}
    for model in tasks.values():
        for layer in model._flatten_layers():
            if kinds.get((type(layer), layer.name), layer) is not layer:
                repeated.add(layer.name)
    if repeated:
        raise ValueError(
            "Tasks and the layers that they share must have different names, and no "
            f"other layer may be called so. Received: several called {sorted(repeated)}"
            ". Give an encoder another `name=`."
        )
