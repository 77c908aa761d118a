"""Compares two ways to build a system that answers questions about images.

Whole-model fine-tuning puts pretrained encoders and a new fusion layer together and
trains everything at once. Component pre-training first trains each encoder alone, to
give the answer without the other modality, and then integrates and fine-tunes them,
or only what is new. All get the same labelled examples, batch size and number of
optimizer steps, those of the components included.

Measured are accuracy with few and many labels and how many are needed, time, memory,
and accuracy on shifted test sets: noisy pictures, another background, other words.

    python -m recipes.compare_systems --preset smoke
    python -m recipes.compare_systems --preset easy_vqa

Each finished run is a file in `runs/` of the output directory: the same command goes on
after a kill.
"""

import dataclasses
import functools
import itertools
import pathlib

import keras
import numpy as np
import tensorflow as tf

import kmmft
import tfrecords_tools
from kmmft.data import Examples
from kmmft.evaluation import Table, method_metrics
from kmmft.finetuning import presets

# The share of the steps that each encoder trains alone, and what trains afterwards.
SYSTEMS = {
    "whole model": (0.0, "everything"),
    "components, then everything": (1 / 3, "everything"),
    "components, then new layers": (1 / 3, "new layers"),
    "new layers only": (0.0, "new layers"),
}
SHIFTS = ("noise", "background", "words")
# The same questions in other words.
REWORDED = (
    (r"is there not an? (.*)\?", r"is a \1 missing?"),
    (r"is there an?", "can you see a"),
    ("does the image not contain", "does the picture lack"),
    ("does the image contain", "does the picture show"),
    ("present", "to be seen"),
    ("what color is", "which colour has"),
    ("color", "colour"),
    ("image", "picture"),
)


@dataclasses.dataclass(frozen=True)
class Config:
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
    seeds: int = 2
    """Runs of each system."""
    steps: int = 120
    """Optimizer steps of a run, those of the components included."""
    image_encoder: str = "demo"
    """KerasHub preset, hf://..., kaggle://..., a local preset, Hugging Face or
    SavedModel directory, or demo: EfficientNet-Lite0 trained on ImageNet."""
    text_encoder: str = "demo"
    """Likewise; demo: the sentence encoder all-MiniLM-L6-v2."""
    image_size: int = 64
    """Height and width of the images in pixels."""
    sequence_length: int = 14
    """Tokens of a question."""
    hidden_dim: int = 128
    """Width of the fusion layer."""
    batch_size: int = 32
    """Examples in one step, over all devices together."""
    learning_rate: float = 5e-4
    """Highest rate of AdamW in each training."""
    weight_decay: float = 1e-4
    """Decoupled weight decay."""
    max_train_examples: int = 8000
    """Training examples that are held in memory, at most: all labels are of these."""
    max_test_examples: int = 1000
    """Test examples, at most."""
    max_bad_fraction: float = 1e-3
    """Share of records that may be unreadable and are skipped; beyond, an error."""
    seed: int = 0
    """First seed."""
    strategy: str = "auto"
    """auto, one_device or mirrored."""
    dtype_policy: str = "float32"
    """Keras dtype policy, such as mixed_bfloat16."""
    resume: bool = True
    """Whether to go on with the comparison in output_dir."""

    def __post_init__(self):
        for name in ("seeds", "batch_size", "max_train_examples", "max_test_examples"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`--{name}` must be at least 1. Received: {getattr(self, name)}."
                )
        if self.steps < 3:
            raise ValueError(
                "`--steps` must be at least 3, one for each stage. "
                f"Received: {self.steps}."
            )
        self.shares()

    def shares(self) -> list[float]:
        try:
            found = [float(part) for part in self.labels.split(",")]
        except ValueError:
            found = []
        if not found or not all(0 < share <= 1 for share in found):
            raise ValueError(
                "`--labels` must be shares in (0, 1], comma-separated. "
                f"Received: {self.labels!r}."
            )
        return found


PRESETS = {
    "easy_vqa": Config(),
    "smoke": Config(
        data="shapes",
        output_dir="runs/compare_systems_smoke",
        labels="1",
        seeds=1,
        steps=12,
        image_size=32,
        hidden_dim=32,
        batch_size=16,
        learning_rate=2e-3,
        max_bad_fraction=0.0,
    ),
}


# === Data ===


@dataclasses.dataclass(frozen=True)
class Task:
    """What all runs share: decoded examples, and the test sets by name."""

    answers: list[str]
    train: Examples
    tests: dict[str, Examples]


def open_data(config: Config) -> kmmft.data.RecordSource:
    """Opens the data, after building those that the recipe knows to make."""
    directory = pathlib.Path(config.data)
    if config.data == "easy_vqa":
        directory = pathlib.Path("data/easy_vqa/1.0.0")
        if not directory.exists():
            tfrecords_tools.build_easy_vqa(output_dir="data")
    elif config.data == "shapes":
        folder = pathlib.Path(config.output_dir, "data")
        directory = folder / "shapes/1.0.0"
        if not directory.exists():
            tfrecords_tools.build_manifest(
                manifest=kmmft.data.write_colored_shapes(folder / "pictures"),
                output_dir=folder,
                name="shapes",
                image_column="image",
                question_column="question",
                answer_column="answer",
                id_column="id",
                split_column="split",
            )
    return kmmft.data.open_source(directory, kmmft.data.schema.image_question_answer())


def load_task(config: Config) -> Task:
    source = open_data(config)
    answers = kmmft.data.Vocabulary.load_or_build(source, "train", "answer").entries
    model = build_model(config, answers)
    load = functools.partial(load_split, config, source, model)
    test = load("test", config.max_test_examples)
    return Task(
        answers,
        load("train", config.max_train_examples),
        {
            "test": test,
            "noise": dataclasses.replace(test, inputs=noisy(test.inputs)),
            "background": dataclasses.replace(test, inputs=tinted(test.inputs)),
            "words": load("test", config.max_test_examples, reworded=True),
        },
    )


def load_split(
    config: Config,
    source: kmmft.data.RecordSource,
    model: kmmft.models.FusionClassifier,
    split: str,
    count: int,
    reworded: bool = False,
) -> Examples:
    # An answer that training does not have counts as wrong.
    answers = kmmft.data.Vocabulary(model.class_names, len(model.class_names))

    def preprocess(record):
        if reworded:
            record = {**record, "question": in_other_words(record["question"])}
        label = answers.lookup(record["answer"])
        return {**model.decode_record(record), "label": label}

    dataset = kmmft.data.build_dataset(
        source,
        split=split,
        preprocess=preprocess,
        batch_preprocess=model.prepare_batch,
        batch_size=64,
        training=False,
        max_bad_fraction=config.max_bad_fraction,
    )
    return Examples.collect(dataset, count)


def in_other_words(question: tf.Tensor) -> tf.Tensor:
    for words, others in REWORDED:
        question = tf.strings.regex_replace(question, words, others)
    return question


def noisy(inputs: dict) -> dict:
    """The images with noise of a standard deviation of 25 of 255."""
    image = inputs["image"]
    noise = np.random.default_rng(0).normal(0, 25, image.shape)
    return {**inputs, "image": np.clip(image + noise, 0, 255).astype("float32")}


def tinted(inputs: dict) -> dict:
    """The images with a pale blue in place of what is nearly white."""
    image = inputs["image"]
    bright = image.min(axis=-1, keepdims=True) > 200
    pale = (image * np.array([0.7, 0.85, 1.0])).astype("float32")
    return {**inputs, "image": np.where(bright, pale, image)}


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
    config: Config, task: Task, *, system: str, labels: float, seed: int
) -> dict[str, float]:
    """One run from the pretrained encoders to its numbers."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    order = np.random.default_rng(seed).permutation(len(task.train))
    train = task.train.choose(order[: max(1, round(labels * len(order)))])
    share, afterwards = SYSTEMS[system]
    alone = round(share * config.steps)
    plan = presets.full if afterwards == "everything" else presets.linear_probe
    scope = kmmft.training.make_strategy(config.strategy).scope()
    with kmmft.evaluation.TrainingCost() as cost, scope:
        encoders = build_encoders(config)
        for name, encoder in encoders.items() if alone else ():
            part = build_model(config, task.answers, {name: encoder})
            fit(config, part, train, presets.full, alone, seed, cost)
        model = build_model(config, task.answers, encoders)
        rest = config.steps - len(encoders) * alone
        fit(config, model, train, plan, rest, seed, cost)
    tests = {f"{name}_accuracy": accuracy(model, x) for name, x in task.tests.items()}
    return {
        **tests,
        "label_count": len(train),
        "seconds": cost.seconds,
        "milliseconds_per_step": cost.milliseconds_per_step,
        "memory_mb": cost.memory_mb,
    }


def fit(config, model, train: Examples, plan, steps: int, seed: int, *callbacks):
    """Trains what the plan lets train; BatchNorm keeps its statistics."""
    options = {"batch_norm_frozen": True} if plan is presets.full else {}
    plan(**options).apply(model)
    model.compile(
        kmmft.training.adamw(
            config.learning_rate, total_steps=steps, weight_decay=config.weight_decay
        )
    )
    inputs = {name: train.inputs[name] for name in model.input}
    model.fit(
        dataclasses.replace(train, inputs=inputs).training_batches(
            config.batch_size, seed
        ),
        steps_per_epoch=steps,
        callbacks=list(callbacks),
        shuffle=False,
        verbose=0,
    )


def accuracy(model: keras.Model, examples: Examples) -> float:
    logits = model.predict(examples.inputs, batch_size=64, verbose=0)
    return float((logits.argmax(axis=-1) == examples.labels).mean())


# === The comparison ===


def main(config: Config) -> dict[str, float]:
    """Runs all systems and reports; returns what metrics.json holds."""
    return kmmft.evaluation.show_run(
        config, run_all, lambda metrics: labels_table(config, metrics)
    )


def run_all(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    keras.config.set_dtype_policy(config.dtype_policy)
    task = load_task(config)
    metrics = {}
    for labels, system in itertools.product(config.shares(), SYSTEMS):
        seeds = range(config.seed, config.seed + config.seeds)
        rows = kmmft.evaluation.repeated_runs(
            run.path / "runs",
            [{"system": system, "labels": labels, "seed": seed} for seed in seeds],
            functools.partial(run_system, config, task),
        )
        metrics |= method_metrics(prefix(system, labels), rows)
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


def prefix(system: str, labels: float) -> str:
    return f"{system.replace(', ', '_').replace(' ', '_')}/{labels:g}_of_labels"


def labels_table(config: Config, metrics: dict[str, float]) -> Table:
    """Test accuracy by the share of labels, and how many are needed."""
    shares = sorted(config.shares())
    rows = []
    for system in SYSTEMS:
        found = [metrics[f"{prefix(system, x)}/test_accuracy"] for x in shares]
        enough = [
            metrics[f"{prefix(system, share)}/label_count"]
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
    columns = {f"{name}_accuracy": name for name in ("test", *SHIFTS)}
    return [
        kmmft.evaluation.method_table(
            metrics,
            {system: prefix(system, labels) for system in SYSTEMS},
            f"{labels:.0%} of the labels",
            columns,
        )
        for labels in config.shares()
    ]


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
