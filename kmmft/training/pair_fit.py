"""The training of two encoders on pairs with a caption, from a recipe's flags."""

import functools
from collections.abc import Callable

import keras
import tensorflow as tf

from kmmft.data import RecordSource, build_dataset, choose_caption, steps_per_epoch
from kmmft.losses import InfoNCE
from kmmft.training.optimizers import adamw
from kmmft.training.recipe_config import RecipeConfig
from kmmft.training.resumable_fit import resumable_fit
from kmmft.training.run_directory import RunDirectory
from kmmft.training.strategies import make_strategy


def fit_pairs(
    config: RecipeConfig,
    source: RecordSource,
    run: RunDirectory,
    modality: str,
    build_model: Callable[[], keras.Model],
    evaluator: keras.callbacks.Callback,
) -> tuple[keras.Model, dict[str, float]]:
    """Builds a contrastive model under the config's strategy, and trains it resumably.

    Each time that a record is seen, one of its captions is taken by chance. The best
    weights by the evaluator's `val_mean_recall` are kept.

    Args:
        config: Gives seed, precision, strategy, optimizer, reading and length.
        source: Its records have `modality` and `captions`.
        run: The run's directory.
        modality: What the captions are of, `"audio"` or `"video"`.
        build_model: Makes the model, whose other modality is `"text"`.
        evaluator: A `RetrievalEvaluator` of the validation split.

    Returns:
        The model, and `train/seconds` and `train/samples_per_second`.

    Example::

        model, trained = kmmft.training.fit_pairs(
            config, source, run, "audio", build_model, evaluator)

    References:
        - [Radford et al., 2021](https://arxiv.org/abs/2103.00020), section 2.3.
    """
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.dtype_policy)
    steps, rounds = config.rounds(steps_per_epoch(source, "train", config.batch_size))
    with make_strategy(config.strategy).scope():
        model = build_model()
        optimizer = adamw(
            config.learning_rate, steps * rounds, weight_decay=config.weight_decay
        )
        model.compile(optimizer, InfoNCE())
    seconds = resumable_fit(
        model,
        functools.partial(_batches, config, source, modality, model),
        run=run,
        steps_per_epoch=steps,
        epochs=rounds,
        callbacks=[evaluator],
        monitor="val_mean_recall",
        patience=config.patience,
    )
    samples = steps * config.batch_size * len(run.history())
    return model, {
        "train/seconds": seconds,
        "train/samples_per_second": samples / seconds,
    }


def _batches(
    config: RecipeConfig,
    source: RecordSource,
    modality: str,
    model: keras.Model,
    start_step: int = 0,
    input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Endless, shuffled training batches; another caption of a record each time."""

    def choose(record, seed):
        text = choose_caption(record["captions"], seed)
        return {
            modality: record[modality],
            "text": text,
            # The same words for two records: neither is the other's negative.
            "example_group": tf.strings.to_hash_bucket_fast(text, 2**62),
        }

    return build_dataset(
        source,
        split="train",
        preprocess=model.decode_record,
        augment=choose,
        batch_preprocess=model.prepare_batch,
        **config.reading_from(start_step, input_context),
    )
