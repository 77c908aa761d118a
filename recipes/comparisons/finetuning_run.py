"""One run of `compare_finetuning`: from pretrained weights to its numbers."""

import dataclasses
import functools
import logging
import pathlib
from typing import TYPE_CHECKING

import numpy as np

import kmmft
from kmmft.data import Examples

from .data import (
    accuracy,
    has_questions,
    load_examples,
    open_labelled,
    open_questions,
)
from .finetuning_methods import METHODS

if TYPE_CHECKING:
    from recipes.compare_finetuning import Config


logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Task:
    """What all runs share: examples in memory, and how the encoder sees others."""

    class_names: list[str]
    questions: bool
    train: Examples
    validation: Examples
    test: Examples
    other: Examples | None
    other_before: float | None


def load_task(config: "Config") -> Task:
    """Decodes the examples of all runs once."""
    folder = pathlib.Path(config.output_dir, "data")
    load = functools.partial(
        load_examples,
        max_examples=config.max_test_examples,
        max_bad_fraction=config.max_bad_fraction,
    )
    questions = has_questions(config.data)
    if questions:
        source = open_questions(config.data, folder)
        names = kmmft.data.Vocabulary.load_or_build(source, "train", "answer").entries
    else:
        source = open_labelled(config.data, folder)
        names = source.features["label"].names
    model = build_model(config, names, questions)
    train = load(source, "train", model, max_examples=config.max_train_examples)
    validation, test = (load(source, split, model) for split in ("validation", "test"))
    other = before = None
    if config.other_data:
        source = open_labelled(config.other_data, folder, other=True)
        # The same encoder, as it is before all fine-tuning.
        model = build_model(config, source.features["label"].names, questions=False)
        other = load(source, "test", model)
        before = probe(model, other)
    return Task(names, questions, train, validation, test, other, before)


def build_model(
    config: "Config", class_names: list[str], questions: bool
) -> kmmft.models.FusionClassifier:
    encoders = {
        "image": kmmft.encoders.ImageEncoder.from_preset(
            config.image_encoder, image_size=config.image_size, resize_mode="pad"
        )
    }
    if questions:
        encoders["question"] = kmmft.encoders.TextEncoder.from_preset(
            config.text_encoder, sequence_length=config.sequence_length
        )
    return kmmft.models.FusionClassifier(
        encoders,
        fusion=kmmft.layers.BilinearFusion(config.hidden_dim) if questions else None,
        class_names=class_names,
    )


def check_methods(config: "Config", task: Task) -> None:
    """Raises a ValueError unless the plans of all methods suit the model."""
    model = build_model(config, task.class_names, task.questions)
    train = task.train.few(config.numbers("labels")[0], config.seed)
    for name in config.method_names():
        try:
            METHODS[name].plan_for(config, model, train).check(model)
        except ValueError as error:
            raise ValueError(
                f"`--methods` must suit the encoders. Received: {name!r}. {error}"
            ) from error


def run_method(
    config: "Config",
    task: Task,
    *,
    method: str,
    labels: float,
    learning_rate: float,
    seed: int,
) -> dict[str, float]:
    """Fine-tunes a fresh model on a few examples and measures it."""
    kmmft.training.fresh_session(seed, config.dtype_policy)
    with kmmft.training.make_strategy(config.strategy).scope():
        model = build_model(config, task.class_names, task.questions)
        with kmmft.evaluation.TrainingCost() as cost:
            METHODS[method].fit(
                config,
                model,
                task.train.few(labels, seed),
                task.train,
                learning_rate=learning_rate,
                seed=seed,
                validate=lambda tried: accuracy(tried, task.validation),
                callbacks=[cost],
            )
    found = {
        "validation_accuracy": accuracy(model, task.validation),
        "test_accuracy": accuracy(model, task.test),
        "trained_weights": sum(int(np.prod(v.shape)) for v in model.trainable_weights),
        "seconds": cost.seconds,
        "milliseconds_per_step": cost.milliseconds_per_step,
        "memory_mb": cost.memory_mb,
    }
    if task.other is not None:
        found["other_accuracy"] = probe(model, task.other)
    return found


def probe(model: kmmft.models.FusionClassifier, other: Examples) -> float:
    """What a simple classifier reads out of the image encoder's features.

    From features that are not finite it is nothing, 0.
    """
    features = model.encoders["image"].predict(
        other.inputs["image"], batch_size=64, verbose=0
    )
    if not np.isfinite(features["pooled"]).all():
        logger.warning("The image encoder's features are not finite: training diverged")
        return 0.0
    return kmmft.evaluation.feature_probe(features["pooled"], other.labels)
