"""The two stages: an image tokenizer, and a transformer over its codes."""

import dataclasses
import functools
import pathlib
import warnings

import keras

import kmmft

from .data import build_data
from .settings import Config
from .testing import drawing_settings


def fit(config, source, tokenizer, model, run, batch_preprocess) -> float:
    """Trains one stage; returns its seconds."""
    steps, rounds = steps_and_rounds(config, source)
    return kmmft.training.resumable_fit(
        model,
        functools.partial(
            build_data, config, source, "train", tokenizer, batch_preprocess
        ),
        run=run,
        steps_per_epoch=steps,
        epochs=rounds,
        validation_data=build_data(
            config, source, "validation", tokenizer, batch_preprocess
        ),
        monitor="val_loss",
        patience=config.patience,
    )


def steps_and_rounds(
    config: Config, source: kmmft.data.RecordSource
) -> tuple[int, int]:
    """Steps between two validations, and how many validations there are."""
    return config.rounds(kmmft.data.steps_per_epoch(source, "train", config.batch_size))


def train_tokenizer(
    config: Config, source: kmmft.data.RecordSource
) -> tuple[kmmft.models.ImageTokenizer, dict[str, float]]:
    """The first stage, in a run directory of its own."""
    stage = dataclasses.replace(config, epochs=config.tokenizer_epochs)
    steps, rounds = steps_and_rounds(stage, source)
    total = steps * rounds
    tokenizer = kmmft.models.ImageTokenizer(
        config.image_size,
        config.num_codes,
        code_dim=8,
        blocks=config.tokenizer_blocks,
    )
    tokenizer.compile(
        kmmft.training.adamw(config.tokenizer_learning_rate, total_steps=total),
        perceptual=perceptual_distance(config),
        perceptual_weight=config.perceptual_weight,
        adversarial_weight=config.adversarial_weight,
        adversarial_start=int(config.adversarial_start * total),
    )
    folder = pathlib.Path(config.output_dir, "tokenizer")
    with kmmft.training.RunDirectory(folder, config, config.resume) as run:
        seconds = fit(
            stage,
            source,
            tokenizer,
            tokenizer,
            run,
            lambda batch: {"image": batch["image"]},
        )
        best = min(run.history(), key=lambda row: row["val_loss"])
    return tokenizer, {
        "tokenizer/l1": best["val_l1"],
        "tokenizer/code_usage": best["val_usage"],
        "tokenizer/seconds": seconds,
    }


def perceptual_distance(config: Config) -> kmmft.models.PerceptualDistance | None:
    """How far apart pictures are for the image encoder, if that counts."""
    if not config.perceptual_weight:
        return None
    encoder = kmmft.encoders.ImageEncoder.from_preset(
        config.image_encoder, image_size=config.image_size
    )
    return kmmft.models.PerceptualDistance(encoder)


def train(
    config: Config,
    source: kmmft.data.RecordSource,
    run: kmmft.training.RunDirectory,
) -> tuple[kmmft.models.TextToImage, dict[str, float]]:
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.dtype_policy)
    with kmmft.training.make_strategy(config.strategy).scope():
        tokenizer, metrics = train_tokenizer(config, source)
        text_encoder = kmmft.encoders.TextEncoder.from_preset(
            config.text_encoder, sequence_length=config.sequence_length
        )
        text_encoder.trainable = config.train_text_encoder
        model = kmmft.models.TextToImage(
            text_encoder, tokenizer, config.hidden_dim, config.num_layers
        )
        steps, rounds = steps_and_rounds(config, source)
        model.compile(
            kmmft.training.adamw(
                config.learning_rate,
                total_steps=steps * rounds,
                weight_decay=config.weight_decay,
            )
        )
    seconds = fit(config, source, tokenizer, model, run, model.prepare_batch)
    model.serving_settings = drawing_settings(config)
    metrics |= {"train/seconds": seconds}
    test = build_data(config, source, "test", tokenizer, model.prepare_batch)
    with warnings.catch_warnings():
        # Keras warns where data ends, if it did not know their length.
        warnings.filterwarnings("ignore", message="Your input ran out of data")
        metrics["test/loss"] = model.evaluate(test, verbose=0)
    return model, metrics
