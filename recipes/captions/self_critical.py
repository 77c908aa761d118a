"""The second stage: captions that are drawn, and rewarded by their CIDEr-D."""

import functools
import pathlib

import tensorflow as tf

import kmmft

from .data import build_data, captions_by_id
from .settings import Config


def learn_by_reward(
    config: Config,
    source: kmmft.data.RecordSource,
    model: kmmft.models.FusionGenerator,
) -> dict[str, float]:
    """Trains on with the reward, in a run directory of its own.

    The model keeps the weights with the best CIDEr-D on the validation split, be it
    those that it came with.
    """
    evaluator = kmmft.evaluation.CaptionEvaluator(
        source, "validation", max_bad_fraction=config.max_bad_fraction
    )
    before = evaluator.evaluate(model)["cider_d"]
    kept = model.get_weights()
    steps = kmmft.data.steps_per_epoch(source, "train", config.batch_size)
    option = compile_for_reward(config, source, model, steps)
    folder = pathlib.Path(config.output_dir, "self_critical")
    with kmmft.training.RunDirectory(folder, config, config.resume) as run:
        seconds = kmmft.training.resumable_fit(
            model,
            functools.partial(
                build_data,
                config,
                source,
                "train",
                model,
                prepare_batch=functools.partial(with_keys, model),
            ),
            run=run,
            steps_per_epoch=steps,
            epochs=config.self_critical_epochs,
            callbacks=[option.log_rewards(), evaluator],
            monitor="val_cider_d",
            patience=config.patience,
        )
        after = max(row["val_cider_d"] for row in run.history())
    if after <= before:
        model.set_weights(kept)
    return {
        "validation/cross_entropy/cider_d": before,
        "validation/self_critical/cider_d": after,
        "train/self_critical_seconds": seconds,
    }


def compile_for_reward(
    config: Config,
    source: kmmft.data.RecordSource,
    model: kmmft.models.FusionGenerator,
    steps: int,
) -> kmmft.models.SelfCritical:
    """Readies the model: what writes a caption is what its gradient is of."""
    captions = captions_by_id(source, "train")
    keys = kmmft.models.reference_keys(tf.constant(list(captions))).numpy().tolist()
    reward = kmmft.metrics.CiderReward(dict(zip(keys, captions.values(), strict=True)))
    option = kmmft.models.SelfCritical(reward)
    with model.distribute_strategy.scope():
        kmmft.finetuning.Plan(
            [
                kmmft.finetuning.Rule("image_encoder/*", train=False),
                kmmft.finetuning.Rule("*", dropout_rate=0.0),
            ]
        ).apply(model)
        optimizer = kmmft.training.adamw(
            config.self_critical_learning_rate,
            total_steps=steps * config.self_critical_epochs,
            weight_decay=config.weight_decay,
        )
        model.compile(optimizer, metrics=[], jit_compile=False)
    model.step_options = [option]
    return option


def with_keys(model: kmmft.models.FusionGenerator, batch: dict) -> tuple:
    """A batch that says which captions are its own."""
    inputs, words, weights = model.prepare_batch(batch)
    keys = kmmft.models.reference_keys(batch["id"])
    return {**inputs, "reference_key": keys}, words, weights
