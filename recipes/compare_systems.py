"""Compares two ways to build a system that answers questions about images.

Whole-model fine-tuning puts pretrained encoders and a new fusion layer together and
trains everything at once. Component pre-training first trains each encoder alone, to
give the answer without the other modality, and then integrates and fine-tunes them,
or only what is new. All get the same labelled examples, batch size, learning rates to
try and number of optimizer steps, those of the components included. The rate is chosen
on validation data, of equals the lowest.

Measured are accuracy with few and many labels and how many are needed, the difference
to the whole model seed by seed, time, memory, and accuracy on shifted test sets: noisy
pictures, another background, other words.

    python -m recipes.compare_systems --preset smoke
    python -m recipes.compare_systems --preset easy_vqa

Each finished run is a file in `runs/` of the output directory: the same command goes on
after a kill.
"""

import dataclasses
import functools
import pathlib

import keras

import kmmft
from kmmft.data import Examples
from kmmft.evaluation import Table, method_prefix
from kmmft.finetuning import presets

from .comparisons.data import accuracy, load_examples, open_questions
from .comparisons.settings import ComparisonConfig
from .comparisons.shifted_examples import noisy, reworded, tinted

# The share of the steps that each encoder trains alone, and what trains afterwards.
SYSTEMS = {
    "whole model": (0.0, "everything"),
    "components, then everything": (1 / 3, "everything"),
    "components, then new layers": (1 / 3, "new layers"),
    "new layers only": (0.0, "new layers"),
}


@dataclasses.dataclass(frozen=True)
class Config(ComparisonConfig):
    """Settings of one comparison."""

    data: str = "easy_vqa"
    """TFDS directory of questions about images; easy_vqa for the data of the pip
    package easy-vqa; shapes for small pictures that are drawn on the spot."""
    output_dir: str = "runs/compare_systems"
    """Directory of the comparison. The same command goes on where it was killed."""
    labels: str = "0.01,0.05,0.2,1"
    """Shares of the training examples that have labels, comma-separated."""
    wanted_accuracy: float = 0.9
    """Accuracy for which the table tells how many labels each system needs."""
    learning_rates: str = "5e-4,2e-3,1e-2"
    """Highest rates of AdamW to try in each training of a system, comma-separated, with
    the first share of labels and the first seed. The best of each system on validation
    data, of equals the lowest, is used for the other seeds and shares too."""
    steps: int = 120
    """Optimizer steps of a run, those of the components included."""
    batch_size: int = 32
    """Examples in one step, over all devices together."""
    max_train_examples: int = 8000
    """Training examples that are held in memory, at most: all labels are of these."""
    max_test_examples: int = 1000
    """Examples of validation and of test, at most."""

    def __post_init__(self):
        super().__post_init__()
        self.check_counts("max_train_examples", "max_test_examples")
        if self.steps < 3:
            raise ValueError(
                "`--steps` must be at least 3, one for each stage. "
                f"Received: {self.steps}."
            )
        if max(self.numbers("labels")) > 1:
            raise ValueError(
                f"`--labels` must be shares in (0, 1]. Received: {self.labels!r}."
            )


PRESETS = {
    "easy_vqa": Config(),
    "smoke": Config(
        data="shapes",
        output_dir="runs/compare_systems_smoke",
        labels="1",
        seeds=1,
        learning_rates="2e-3",
        steps=12,
        image_size=32,
        hidden_dim=32,
        batch_size=16,
        max_bad_fraction=0.0,
    ),
}


# === Data ===


@dataclasses.dataclass(frozen=True)
class Task:
    """What all runs share: decoded examples, and the test sets by name."""

    answers: list[str]
    train: Examples
    validation: Examples
    tests: dict[str, Examples]


def load_task(config: Config) -> Task:
    source = open_questions(config.data, pathlib.Path(config.output_dir, "data"))
    answers = kmmft.data.Vocabulary.load_or_build(source, "train", "answer").entries
    load = functools.partial(
        load_examples,
        source,
        model=build_model(config, answers),
        max_examples=config.max_test_examples,
        max_bad_fraction=config.max_bad_fraction,
    )
    test = load("test")
    return Task(
        answers,
        load("train", max_examples=config.max_train_examples),
        load("validation"),
        {
            "test": test,
            "noise": dataclasses.replace(test, inputs=noisy(test.inputs)),
            "background": dataclasses.replace(test, inputs=tinted(test.inputs)),
            "words": load("test", change=reworded),
        },
    )


# === One run ===


def build_encoders(config: Config) -> dict[str, keras.Model]:
    return {
        "image": kmmft.encoders.ImageEncoder.from_preset(
            config.image_encoder, image_size=config.image_size
        ),
        "question": kmmft.encoders.TextEncoder.from_preset(
            config.text_encoder, sequence_length=config.sequence_length
        ),
    }


def build_model(
    config: Config, answers: list[str], encoders: dict[str, keras.Model] | None = None
) -> kmmft.models.FusionClassifier:
    """The whole system, or with one encoder that encoder with a head of its own."""
    encoders = encoders or build_encoders(config)
    fusion = kmmft.layers.BilinearFusion(config.hidden_dim)
    return kmmft.models.FusionClassifier(
        encoders, fusion if len(encoders) > 1 else None, class_names=answers
    )


def run_system(
    config: Config,
    task: Task,
    *,
    method: str,
    labels: float,
    learning_rate: float,
    seed: int,
) -> dict[str, float]:
    """One run from the pretrained encoders to its numbers."""
    kmmft.training.fresh_session(seed, config.dtype_policy)
    train = task.train if labels == 1 else task.train.few(labels, seed)
    share, afterwards = SYSTEMS[method]
    alone = round(share * config.steps)
    plan = presets.full if afterwards == "everything" else presets.linear_probe
    scope = kmmft.training.make_strategy(config.strategy).scope()
    with kmmft.evaluation.TrainingCost() as cost, scope:
        learn = functools.partial(fit, config, train, learning_rate, seed, cost)
        encoders = build_encoders(config)
        for name, encoder in encoders.items() if alone else ():
            part = build_model(config, task.answers, {name: encoder})
            learn(part, presets.full, alone)
        model = build_model(config, task.answers, encoders)
        learn(model, plan, config.steps - len(encoders) * alone)
    tests = {f"{name}_accuracy": accuracy(model, x) for name, x in task.tests.items()}
    return {
        **tests,
        "validation_accuracy": accuracy(model, task.validation),
        "label_count": len(train),
        "seconds": cost.seconds,
        "milliseconds_per_step": cost.milliseconds_per_step,
        "memory_mb": cost.memory_mb,
    }


def fit(config, train: Examples, learning_rate, seed, callback, model, plan, steps):
    """Trains what the plan lets train; BatchNorm keeps its statistics."""
    options = {"batch_norm_frozen": True} if plan is presets.full else {}
    plan(**options).apply(model)
    model.compile(
        kmmft.training.adamw(
            learning_rate, total_steps=steps, weight_decay=config.weight_decay
        )
    )
    inputs = {name: train.inputs[name] for name in model.input}
    model.fit(
        dataclasses.replace(train, inputs=inputs).training_batches(
            config.batch_size, seed
        ),
        steps_per_epoch=steps,
        callbacks=[callback],
        shuffle=False,
        verbose=0,
    )


# === The comparison ===


def main(config: Config) -> dict[str, float]:
    """Runs all systems and reports; returns what metrics.json holds."""
    return kmmft.evaluation.show_run(
        config, run_all, lambda metrics: labels_table(config, metrics)
    )


def run_all(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    keras.config.set_dtype_policy(config.dtype_policy)
    task = load_task(config)
    metrics = kmmft.evaluation.compare_methods(
        run.path / "runs",
        functools.partial(run_system, config, task),
        methods=list(SYSTEMS),
        reference="whole model",
        **config.effort(),
    )
    metrics["peak_memory_mb"] = kmmft.evaluation.peak_memory_mb()
    kmmft.evaluation.write_report(
        run.report,
        title="Ways to build a system compared",
        metrics=metrics,
        history={},
        examples=[],
        confusion=None,
        config=run.config,
        tables=[labels_table(config, metrics), *share_tables(config, metrics)],
        notes=__doc__.split("\n\n")[1].replace("\n", " "),
    )
    run.write_metrics(metrics)
    return metrics


def labels_table(config: Config, metrics: dict[str, float]) -> Table:
    """Test accuracy by the share of labels, and how many are needed."""
    shares = sorted(config.numbers("labels"))
    rows = []
    for system in SYSTEMS:
        found = [metrics[f"{method_prefix(system, x)}/test_accuracy"] for x in shares]
        enough = [
            metrics[f"{method_prefix(system, share)}/label_count"]
            for share, score in zip(shares, found, strict=True)
            if score >= config.wanted_accuracy
        ]
        rows.append([system, *found, round(min(enough)) if enough else None])
    return Table(
        "Test accuracy by the share of labels",
        [
            "system",
            *(f"{share:.0%}" for share in shares),
            f"labels for {config.wanted_accuracy:.0%}",
        ],
        rows,
        note=f"Means over {config.seeds} seeds; the least tried number of labels that "
        "reaches the accuracy.",
    )


def share_tables(config: Config, metrics: dict[str, float]) -> list[Table]:
    """For each share of labels: spread, shifted test sets, time and memory."""
    tests = ("test", "noise", "background", "words")
    columns = {f"{name}_accuracy": name for name in tests}
    return [
        kmmft.evaluation.method_table(
            metrics,
            {system: method_prefix(system, labels) for system in SYSTEMS},
            f"{labels:.0%} of the labels",
            columns,
            reference="whole model",
        )
        for labels in config.numbers("labels")
    ]


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
