"""The training of a recipe's classifier, from its flags."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from kmmft.training.optimizers import adamw
from kmmft.training.recipe_config import RecipeConfig
from kmmft.training.resumable_fit import resumable_fit
from kmmft.training.run_directory import RunDirectory
from kmmft.training.strategies import make_strategy


def fit_classifier(
    config: RecipeConfig,
    run: RunDirectory,
    build_model: Callable[[], keras.Model],
    build_data: Callable[..., tf.data.Dataset],
    steps_per_epoch: int,
    monitor: str = "val_accuracy",
    callbacks: Sequence[keras.callbacks.Callback] = (),
    **compile_options: Any,
) -> tuple[keras.Model, dict[str, float]]:
    """Builds a classifier under the config's strategy, and trains it resumably.

    The best weights by `monitor` are kept.

    Args:
        config: Gives seed, precision, strategy, optimizer and length.
        run: The run's directory.
        build_model: Makes the model, with its own loss.
        build_data: Given a split and the model, makes its batches; for training, also
            given the step to begin with, as `resumable_fit` does.
        steps_per_epoch: Optimizer steps of one pass over the training data.
        monitor: As in `resumable_fit`.
        callbacks: Likewise.
        **compile_options: Further arguments of the model's `compile`.

    Returns:
        The model, and `train/seconds` and `train/samples_per_second`.

    Example::

        model, trained = kmmft.training.fit_classifier(
            config, run, build_model, build_data, steps_per_epoch=100)
    """
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.dtype_policy)
    steps, rounds = config.rounds(steps_per_epoch)
    with make_strategy(config.strategy).scope():
        model = build_model()
        model.compile(
            adamw(
                config.learning_rate,
                total_steps=steps * rounds,
                weight_decay=config.weight_decay,
            ),
            **compile_options,
        )
    seconds = resumable_fit(
        model,
        functools.partial(build_data, "train", model),
        run=run,
        steps_per_epoch=steps,
        epochs=rounds,
        validation_data=build_data("validation", model),
        monitor=monitor,
        callbacks=callbacks,
        patience=config.patience,
    )
    samples = steps * config.batch_size * len(run.history())
    return model, {
        "train/seconds": seconds,
        "train/samples_per_second": samples / seconds,
    }
