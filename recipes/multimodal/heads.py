"""Ways of training a classifier above the same frozen features, several seeds each."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping

import keras
import numpy as np

import kmmft
from kmmft.evaluation import Table

from .settings import Config

# Every way, by what it changes in the recipe's settings. The first one is plain.
SETTINGS = {
    "no modality dropout": {"modality_dropout_rate": 0.0},
    "modality dropout": {},
    "class weights": {"class_weights": True},
    "focal loss": {"focal_gamma": 2.0},
    "both": {"class_weights": True, "focal_gamma": 2.0},
}
_PLAIN = {"class_weights": False, "focal_gamma": 0.0}


def class_weights(labels: np.ndarray) -> dict[int, float]:
    """Weights that make all classes count alike, 1 on average over the records."""
    classes, counts = np.unique(labels, return_counts=True)
    weights = len(labels) / (len(classes) * counts)
    return dict(zip(classes.tolist(), weights.tolist(), strict=True))


def compare_heads(
    config: Config,
    directory: pathlib.Path,
    build_model: Callable[..., kmmft.models.FusionClassifier],
    train: kmmft.data.Examples,
    test: kmmft.data.Examples,
) -> dict[str, float]:
    """Trains the head in every way with every seed, and tests it with every subset.

    Args:
        config: The recipe's settings, with `modality_dropout_rate` above 0.
        directory: Keeps each finished run, so that a killed comparison goes on.
        build_model: Makes a new model of given settings above the same encoders.
        train: Frozen features of the training split.
        test: Likewise, of the test split.

    Returns:
        Flat dict of means and deviations (`..._std`) over the seeds, such as
        `compared/both/image+text/macro_f1`.

    Raises:
        ValueError: If `modality_dropout_rate` is 0.
    """
    if not config.modality_dropout_rate:
        raise ValueError(
            "`--compare_seeds` compares with and without modality dropout. "
            "Received: modality_dropout_rate=0. Give a rate, such as 0.2."
        )

    def run(setting: str, seed: int) -> Mapping[str, float]:
        changed = dataclasses.replace(config, **{**_PLAIN, **SETTINGS[setting]})
        keras.utils.set_random_seed(seed)
        model = build_model(changed)
        head = _train(changed, model, train)
        answers = kmmft.evaluation.predict_subsets_of_features(model, head, test)
        return kmmft.evaluation.subset_metrics(answers, model.class_names, prefix="")

    points = [
        {"setting": setting, "seed": config.seed + seed}
        for seed in range(config.compare_seeds)
        for setting in SETTINGS
    ]
    rows = kmmft.evaluation.repeated_runs(directory, points, run)
    metrics = {}
    for setting in SETTINGS:
        own = [row for row in rows if row["setting"] == setting]
        for name in own[0]:
            if name.endswith(("/accuracy", "/macro_f1")):
                mean, spread = kmmft.evaluation.mean_and_deviation(
                    [row[name] for row in own]
                )
                metrics[f"compared/{setting}/{name}"] = mean
                metrics[f"compared/{setting}/{name}_std"] = spread
    return {name: value for name, value in metrics.items() if value == value}


def _train(
    config: Config, model: kmmft.models.FusionClassifier, train: kmmft.data.Examples
) -> keras.Model:
    head = kmmft.evaluation.head_on_features(model, train)
    steps = -(-len(train) // config.batch_size) * config.compare_epochs
    head.compile(
        kmmft.training.adamw(
            config.learning_rate, total_steps=steps, weight_decay=config.weight_decay
        ),
        model.default_loss(config.label_smoothing, config.focal_gamma),
    )
    head.fit(
        dict(train.inputs),
        train.labels,
        batch_size=config.batch_size,
        epochs=config.compare_epochs,
        class_weight=class_weights(train.labels) if config.class_weights else None,
        verbose=0,
    )
    return head


def comparison_tables(metrics: Mapping[str, float], seeds: int) -> list[Table]:
    """A table of accuracies and one of macro F1: a row a way, a column a subset.

    No tables if nothing was compared.
    """
    if not seeds:
        return []
    plain = f"compared/{next(iter(SETTINGS))}/"
    note = f"Above frozen encoders; mean and deviation of {seeds} seeds."
    tables = []
    for key, title in (("accuracy", "accuracy"), ("macro_f1", "macro F1")):
        subsets = [
            name.removeprefix(plain).removesuffix(f"/{key}")
            for name in metrics
            if name.startswith(plain) and name.endswith(f"/{key}")
        ]
        rows = [
            [
                setting,
                *(_cell(metrics, f"compared/{setting}/{s}/{key}") for s in subsets),
            ]
            for setting in SETTINGS
        ]
        header = ["trained with", *(subset.replace("+", " + ") for subset in subsets)]
        tables.append(Table(f"Test {title}, by training", header, rows, note=note))
    return tables


def _cell(metrics: Mapping[str, float], name: str) -> str:
    spread = metrics.get(f"{name}_std")
    mean = f"{100 * metrics[name]:.1f} %"
    return mean if spread is None else f"{mean} ± {100 * spread:.1f}"
