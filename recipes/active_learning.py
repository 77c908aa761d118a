"""Chooses what to label next: active learning, a file at a time.

Data: `--csv FILE`, a manifest of images, of texts or of both, with a column of labels
that is empty in most rows, or in all of them. Each call trains a classifier on the
labels that there are, above frozen encoders or with `--train_image_encoder` and
`--train_text_encoder`, and writes the next file to label, `round_001.csv` and so on in
the output directory, with the classifier's answers and scores. Fill in its column
`label`, leave empty what you cannot tell, and give the same command again. The
classifier is kept in `model.keras`.

    python -m recipes.active_learning --csv posts.csv --class_names spam ham --count 50
    python -m recipes.active_learning --preset smoke
    python -m recipes.active_learning --preset open_clip_art

With `--simulate` the labels are known, and a table shows the accuracy on test data by
number of labels for several ways of choosing, against random choice. The presets do
so.
"""

import collections
import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

import kmmft
from kmmft.evaluation import Table
from kmmft.training import RunDirectory

from .labelling.examples import LabelledExamples, build_model, encode_split
from .labelling.learner import Learner, choose
from .labelling.manifest import open_rows, read_manifest
from .labelling.rounds import known_classes, read_rounds, write_round
from .labelling.settings import PRESETS, Config
from .labelling.simulation import simulate, simulation_table

# What a classifier is called that knows of no classes yet, and is not trained.
_ANY_CLASSES = ("one", "another")


class Project(RunDirectory):
    """A run directory in which only the examples must stay the same."""

    FREE_FIELDS = tuple(
        field.name
        for field in dataclasses.fields(Config)
        if field.name not in ("csv", "id_column", "simulate")
    )


def main(config: Config) -> dict[str, float]:
    """Does a round, or a simulation; returns what metrics.json holds."""
    config.check_data()
    if config.simulate:
        return kmmft.evaluation.show_run(
            config, simulate, lambda metrics: simulation_table(config, metrics)
        )
    with Project(config.output_dir, config, config.resume) as run:
        return do_round(config, run)


def do_round(config: Config, run: RunDirectory) -> dict[str, float]:
    """Trains on all labels that there are, and writes the next file to label."""
    rows = read_manifest(config)
    rounds = read_rounds(run.path, {row["id"] for row in rows}, config.skip_bad)
    names = known_classes(config, rows, rounds)
    label_of = {row["id"]: row["label"] for row in rows} | rounds.label_of
    source = open_rows(config, rows)
    keras.utils.set_random_seed(config.seed)
    model = build_model(config, source, names if len(names) > 1 else _ANY_CLASSES)
    train = encode_split(config, source, "train", model, label_of)
    known = np.array([bool(label_of.get(name)) for name in train.ids])
    metrics = {
        "round": rounds.number + 1,
        "labels": int(known.sum()),
        "examples": len(train.ids),
    }
    learner = None
    if len(np.unique(train.labels[train.labels >= 0])) > 1:
        learner = Learner(config, model, train.examples)
        learner.train(train.examples.choose(known), config.seed)
        run.write_model(model)
        if "test" in source.splits:
            test = encode_split(config, source, "test", model, label_of)
            metrics |= tested(learner, test)
    left = ~known & ~np.array([name in rounds.offered for name in train.ids])
    chosen, scores, predicted = choose_next(config, model, learner, train, left, known)
    kmmft.evaluation.print_table(round_table(metrics, train, model, predicted, learner))
    if len(chosen):
        row_of = {row["id"]: row for row in rows}
        next_rows = [row_of[name] for name in train.ids[chosen]]
        file = write_round(run.path, metrics["round"], next_rows, predicted, scores)
        kmmft.evaluation.print_line(f"To label: {file}")
    else:
        kmmft.evaluation.print_line("Nothing is left to label.")
    run.write_epoch(rounds.number, metrics)
    run.write_metrics(metrics)
    return metrics


def tested(learner: Learner, test: LabelledExamples) -> dict[str, float]:
    """Accuracy on the test rows that have a label."""
    known = test.labels >= 0
    if not known.any():
        return {}
    return {
        "test/labels": int(known.sum()),
        "test/accuracy": learner.accuracy(test.examples.choose(known)),
    }


def choose_next(
    config: Config,
    model: kmmft.models.FusionClassifier,
    learner: Learner | None,
    train: LabelledExamples,
    left: np.ndarray,
    known: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Chooses among the examples that are left, given which have a label.

    Returns:
        Their rows in `train`, their scores, and the classifier's answers, which are
        empty where there is none.
    """
    places = np.flatnonzero(left)
    if not len(places):
        return places, np.zeros(0), []
    probabilities = None
    if learner is not None:
        probabilities = learner.probabilities(train.examples.choose(places))
    chosen, scores = choose(
        config.choose_by if learner is not None else "core_set",
        config.count,
        probabilities=probabilities,
        vectors=train.vectors[places],
        centers=train.vectors[known],
        seed=config.seed,
    )
    predicted = [""] * len(chosen)
    if learner is not None:
        best = probabilities[chosen].argmax(axis=1)
        predicted = [model.class_names[number] for number in best]
    return places[chosen], scores, predicted


def round_table(
    metrics: dict[str, float],
    train: LabelledExamples,
    model: kmmft.models.FusionClassifier,
    predicted: Sequence[str],
    learner: Learner | None,
) -> Table:
    """Labels by class, and what the classifier says of the next ones."""
    title = f"Round {metrics['round']:.0f}: {metrics['labels']:.0f} labels of "
    title += f"{metrics['examples']:.0f}"
    if "test/accuracy" in metrics:
        title += f", test accuracy {metrics['test/accuracy']:.1%}"
    answers = collections.Counter(predicted)
    rows = [
        [name, int((train.labels == number).sum()), answers[name]]
        for number, name in enumerate(model.class_names)
        if learner is not None
    ]
    return Table(title, ["class", "labels", "answers of the next file"], rows)


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
