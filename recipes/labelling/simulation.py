"""Ways of choosing compared, where all labels are known."""

import functools
import pathlib
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

import kmmft
import tfrecords_tools
from kmmft.evaluation import Table, method_metrics, method_prefix
from tfrecords_tools.sources.class_names import sorted_class_names

from .examples import LabelledExamples, build_model, encode_split, with_encoders
from .learner import Learner, choose
from .manifest import open_rows, read_manifest
from .settings import Config

ALL = "all"
SPLITS = ("train", "test")


def simulate(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    """Adds labels round by round, in every way with every seed, and tests each time.

    Returns:
        Means and deviations over the seeds, such as `entropy/80_labels/test_accuracy`
        and, against random choice, `entropy/80_labels/test_accuracy_gain`.
    """
    source, label_of, names = open_known(config)
    keras.utils.set_random_seed(config.seed)
    model = build_model(config, source, names)
    train, test = (
        encode_split(config, source, split, model, label_of) for split in SPLITS
    )
    check_known(train, test, config.start)

    @functools.lru_cache(maxsize=1)
    def learner_of(seed: int) -> Learner:
        keras.utils.set_random_seed(seed)
        fresh = with_encoders(config, model.encoders, names)
        return Learner(config, fresh, train.examples)

    def run_one(method: str, seed: int) -> Mapping[str, float]:
        return one_run(config, learner_of(seed), train, test, method, seed)

    methods = ("random", *(m for m in config.methods if m != "random"), ALL)
    points = [
        {"method": method, "seed": config.seed + seed}
        for seed in range(config.seeds)
        for method in methods
    ]
    rows = kmmft.evaluation.repeated_runs(run.path / "runs", points, run_one)
    metrics = curve_metrics(config, rows)
    metrics["train/examples"] = len(train.ids)
    metrics["test/examples"] = len(test.ids)
    metrics["peak_memory_mb"] = kmmft.evaluation.peak_memory_mb()
    kmmft.evaluation.write_report(
        run.report,
        title="Active learning",
        metrics=metrics,
        history={},
        examples=[],
        confusion=None,
        config=run.config,
        tables=[simulation_table(config, metrics)],
    )
    run.write_metrics(metrics)
    return metrics


def one_run(
    config: Config,
    learner: Learner,
    train: LabelledExamples,
    test: LabelledExamples,
    method: str,
    seed: int,
) -> dict[str, float]:
    """Test accuracy by number of labels; every method begins with the same ones."""
    order = np.random.default_rng(seed).permutation(len(train.ids))
    if method == ALL:
        learner.train(train.examples, seed)
        return {str(len(order)): learner.accuracy(test.examples)}
    labelled, rest = np.split(order, [config.start])
    found = {}
    for number in range(config.rounds + 1):
        learner.train(train.examples.choose(labelled), seed)
        found[str(len(labelled))] = learner.accuracy(test.examples)
        if number == config.rounds or not len(rest):
            break
        rows, _ = choose(
            method,
            config.count,
            probabilities=learner.probabilities(train.examples.choose(rest)),
            vectors=train.vectors[rest],
            centers=train.vectors[labelled],
            seed=seed,
        )
        labelled = np.concatenate([labelled, rest[rows]])
        rest = np.delete(rest, rows)
    return found


def curve_metrics(config: Config, rows: list) -> dict[str, float]:
    """Means, deviations and gains over random choice, for each number of labels."""

    def accuracies(method: str, count: str) -> list:
        return [
            {"seed": row["seed"], "test_accuracy": row[count]}
            for row in rows
            if row["method"] == method
        ]

    metrics = {}
    for method in (*config.methods, ALL):
        first = next(row for row in rows if row["method"] == method)
        for count in [name for name in first if name.isdigit()]:
            random = None
            if method not in ("random", ALL):
                random = accuracies("random", count)
            prefix = method_prefix(method, int(count))
            if method == ALL:
                prefix = ALL
            metrics |= method_metrics(prefix, accuracies(method, count), random)
    return metrics


def simulation_table(config: Config, metrics: Mapping[str, float]) -> Table:
    """A row for each number of labels, a column for each way of choosing."""
    counts = sorted(
        int(name.split("/")[1].split("_")[0])
        for name in metrics
        if name.startswith("random/") and name.endswith("/test_accuracy")
    )

    def cell(method: str, count: int) -> str:
        name = f"{method_prefix(method, count)}/test_accuracy"
        text = f"{100 * metrics[name]:.1f}"
        if config.seeds > 1:
            text += f" ± {100 * metrics[f'{name}_deviation']:.1f}"
        if method == "random":
            return text
        text += f" ({100 * metrics[f'{name}_gain']:+.1f}"
        if config.seeds > 1:
            text += f" ± {100 * metrics[f'{name}_gain_deviation']:.1f}"
        return f"{text})"

    return Table(
        "Test accuracy in %, by way of choosing what to label",
        ["labels", *(method.replace("_", " ") for method in config.methods)],
        [[n, *(cell(method, n) for method in config.methods)] for n in counts],
        note=f"Means and deviations over {config.seeds} seeds; in brackets the "
        "difference to random choice with the same seed, and so the same first labels. "
        f"With all {metrics['train/examples']:.0f} labels: "
        f"{100 * metrics[f'{ALL}/test_accuracy']:.1f} %; "
        f"{metrics['test/examples']:.0f} test examples.",
    )


def open_known(
    config: Config,
) -> tuple[kmmft.data.RecordSource, dict[str, str], list[str]]:
    """Records, all their labels by id, and the names of the classes."""
    if config.csv:
        rows = read_manifest(config)
        label_of = {row["id"]: row["label"] for row in rows if row["label"]}
        source = kmmft.data.check_splits(open_rows(config, rows), SPLITS)
        return source, label_of, sorted_class_names(set(label_of.values()))
    directory = config.data
    if config.data == "open_clip_art":
        folder = pathlib.Path(config.output_dir, "data")
        directory = folder / "drawings/1.0.0"
        if not directory.exists():
            tfrecords_tools.build_open_clip_art_classes(
                output_dir=folder, name="drawings", titles=True
            )
    source = kmmft.data.open_source(directory)
    if "label" not in source.features:
        raise ValueError(
            "The records must have a label, as kmmft.data.schema.labelled makes them. "
            f"Received: {sorted(source.features)} in {directory}."
        )
    kmmft.data.check_splits(source, SPLITS)
    names = source.features["label"].names
    return source, labels_of_records(source, names), names


def labels_of_records(
    source: kmmft.data.RecordSource, names: list[str]
) -> dict[str, str]:
    """Names of the classes by id, of the splits train and test."""

    def id_and_label(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        record = kmmft.data.parse_record(serialized, source.features)
        return record["id"], record["label"]

    label_of = {}
    for split in SPLITS:
        records = kmmft.data.read_records(source, split).map(id_and_label)
        for name, label in records.as_numpy_iterator():
            # -1 stands for a label that is not known.
            label_of[name.decode()] = names[label] if label >= 0 else ""
    return label_of


def check_known(train: LabelledExamples, test: LabelledExamples, start: int) -> None:
    """Raises a ValueError unless all labels are known and some are left to choose."""
    for split, examples in (("train", train), ("test", test)):
        unknown = examples.ids[examples.labels < 0]
        if len(unknown):
            raise ValueError(
                "A simulation needs all labels. Received: none for "
                f"{len(unknown)} of {len(examples.ids)} examples of {split}, such as "
                f"id {unknown[0]!r}. Leave them out, or leave `--simulate` out."
            )
    if len(train.ids) <= start:
        raise ValueError(
            "`--start` must be less than the number of training examples. Received: "
            f"{start} of {len(train.ids)}."
        )
