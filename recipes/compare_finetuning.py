"""Compares ways of fine-tuning on the same few labels, with the same effort for each.

Every method gets the same pretrained encoders, labelled examples, batches, number of
optimizer steps and number of learning rates to try; the rate is chosen on validation
data. Then every seed draws other examples, another head and another order. One table
shows test accuracy with its spread over the seeds, what was trained, time, memory, and
how much the image encoder has forgotten about other pictures.

    python -m recipes.compare_finetuning --preset smoke
    python -m recipes.compare_finetuning --preset open_clip_art
    python -m recipes.compare_finetuning --preset easy_vqa

Each finished run is a file in `runs/` of the output directory: the same command goes on
after a kill.

On Open Clip Art only BitFit could be told apart from the other methods, and L2-SP
showed no gain: see the README's table.
"""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Callable

import keras
import numpy as np

import kmmft
import tfrecords_tools
from kmmft import finetuning
from kmmft.data import Examples
from kmmft.evaluation import Table, method_metrics
from kmmft.finetuning import Plan, Rule, presets
from tfrecords_tools import open_clip_art_classes


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one comparison."""

    data: str = "open_clip_art"
    """TFDS directory of labelled images. open_clip_art: drawings of eight kinds, from
    two Debian packages; easy_vqa: the data of the pip package easy-vqa; shapes: small
    pictures that are drawn on the spot."""
    other_data: str = "open_clip_art"
    """Labelled images of other kinds, on which forgetting is measured: TFDS directory,
    open_clip_art (drawings of six other kinds), or empty for none."""
    output_dir: str = "runs/compare_finetuning"
    """Directory of the comparison. The same command goes on where it was killed."""
    methods: str = ""
    """Methods to compare, comma-separated; default: all."""
    labels: str = "20,5,100"
    """Labelled examples of each class, comma-separated. Below 1: share of all training
    examples."""
    seeds: int = 3
    """Runs of each method with its best rate."""
    learning_rates: str = "1e-4,5e-4,2e-3,1e-2"
    """Highest rates of AdamW to try with the first number of labels, comma-separated;
    the best of each method is used for the others too."""
    steps: int = 60
    """Optimizer steps of a run."""
    epochs: int = 4
    """Stretches of the run; some methods unfreeze weights at their ends."""
    strength: float = 1e-2
    """Strength of l2 and l2_sp."""
    image_encoder: str = "demo"
    """KerasHub preset, hf://..., kaggle://..., a local preset, Hugging Face or
    SavedModel directory, or demo: EfficientNet-Lite0 trained on ImageNet."""
    text_encoder: str = "demo"
    """Likewise, for questions; demo: the sentence encoder all-MiniLM-L6-v2."""
    train_text_encoder: bool = True
    """Whether the methods are for the text encoder too, or it stays frozen."""
    image_size: int = 96
    """Height and width of the images in pixels."""
    sequence_length: int = 12
    """Tokens of a question."""
    hidden_dim: int = 128
    """Width of the fusion layer, where there are questions."""
    batch_size: int = 16
    """Examples in one step, over all devices together."""
    weight_decay: float = 1e-4
    """Decoupled weight decay."""
    smallest_crop: float = 0.6
    """Smallest part of a training image's area that is cut out; 1 for all of it."""
    max_examples: int = 2000
    """Examples of each split that are held in memory, at most."""
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
        unknown = sorted(set(self.method_names()) - set(METHODS))
        if unknown:
            raise ValueError(
                f"`--methods` must be of {', '.join(METHODS)}. Received: {unknown}."
            )
        for name in ("seeds", "steps", "epochs", "batch_size", "max_examples"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`--{name}` must be at least 1. Received: {getattr(self, name)}."
                )
        for name in ("labels", "learning_rates"):
            numbers(name, getattr(self, name))
        if self.epochs < 2 or self.steps % self.epochs:
            raise ValueError(
                "`--steps` must be a multiple of `--epochs`, at least two. Received: "
                f"{self.steps} and {self.epochs}."
            )

    def method_names(self) -> list[str]:
        return self.methods.split(",") if self.methods else list(METHODS)


def numbers(name: str, text: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) <= 0:
        raise ValueError(
            f"`--{name}` must be positive numbers, comma-separated. Received: {text!r}."
        )
    return [int(value) if value.is_integer() else value for value in found]


# === Methods ===


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to fine-tune.

    Attributes:
        plan: Makes the plan, of the settings, the model and the training examples.
        options: Makes the train step's options, of the settings.
        halfway: Called with the model after half of the epochs; `finish` gets what it
            returns.
        finish: Called with the trained model, that, and a function that measures the
            model's validation accuracy.
    """

    plan: Callable[..., Plan]
    options: Callable[..., list] = lambda config: []
    halfway: Callable | None = None
    finish: Callable | None = None


# The encoders' BatchNorm keeps its statistics: those of few examples are worse.
FIXED = {"batch_norm_frozen": True}


def lp_ft(config: Config, *_) -> Plan:
    return presets.lp_ft(probe_epochs=config.epochs // 2, **FIXED)


def gradual_unfreezing(config: Config, *_) -> Plan:
    return presets.gradual_unfreezing(groups=max(config.epochs - 1, 1), **FIXED)


def l2_sp(config: Config, fisher: dict | None = None) -> Plan:
    return presets.l2_sp(
        config.strength, new_strength=config.strength, fisher=fisher, **FIXED
    )


def l2_sp_fisher(config: Config, model: keras.Model, train: Examples) -> Plan:
    """Holds weights by how much they matter to what the fresh model would answer."""
    batches = train.training_batches(config.batch_size, config.seed)
    return l2_sp(
        config, finetuning.estimate_fisher(model, batches, batches=4, normalize=True)
    )


def adapters(*_) -> Plan:
    """Adapters in the question's transformer, low ranks in the other encoders."""
    return Plan(
        [
            Rule("text_encoder/*", adapter=finetuning.Bottleneck()),
            Rule("*_encoder/*", adapter=finetuning.LoRA(), **FIXED),
            Rule("*"),
        ]
    )


def adversarial(config: Config) -> list:
    # About 2 of 255 for each pixel.
    radius = 2 * config.image_size * 3**0.5
    return [finetuning.FGM(epsilon=radius, layers="image")]


def own_teacher(model: keras.Model) -> None:
    teacher = finetuning.starting_copy(model)
    model.step_options = [finetuning.SelfDistillation(teacher, temperature=2.0)]


def mix_with_probe(
    model: keras.Model, probed: dict[str, np.ndarray], accuracy: Callable[[], float]
) -> None:
    """The best mean of the weights before and after the encoders trained."""
    finetuning.wise_ft(
        model,
        probed,
        lambda _: {"accuracy": accuracy()},
        choose="accuracy",
        alphas=np.linspace(0, 1, 6),
    )


METHODS: dict[str, Method] = {
    "full": Method(lambda *_: presets.full(**FIXED)),
    "linear_probe": Method(lambda *_: presets.linear_probe()),
    "lp_ft": Method(lp_ft),
    "gradual_unfreezing": Method(gradual_unfreezing),
    "layer_wise_decay": Method(lambda *_: presets.layer_wise_decay(**FIXED)),
    "l2": Method(lambda config, *_: presets.l2(config.strength, **FIXED)),
    "l2_sp": Method(lambda config, *_: l2_sp(config)),
    "l2_sp_fisher": Method(l2_sp_fisher),
    "lora": Method(lambda *_: presets.lora(**FIXED)),
    "adapters": Method(adapters),
    # Where biases belong to BatchNorm it cannot be frozen.
    "bitfit": Method(lambda *_: presets.bitfit()),
    "adversarial": Method(lambda *_: presets.full(**FIXED), options=adversarial),
    "wise_ft": Method(lp_ft, halfway=finetuning.weight_values, finish=mix_with_probe),
    "self_distillation": Method(lp_ft, halfway=own_teacher),
}


# === Data ===

# One picture of a group of near-duplicates, equally many of each kind.
OTHER_DRAWINGS = {
    "classes": open_clip_art_classes.OTHER_CLASSES,
    "validation_per_class": 0,
    "test_per_class": 23,
}


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


def load_task(config: Config) -> Task:
    """Decodes the examples of all runs once."""
    source = open_data(config, config.data)
    questions = "question" in source.features
    names = (
        kmmft.data.Vocabulary.load_or_build(source, "train", "answer").entries
        if questions
        else source.features["label"].names
    )
    splits = {
        split: load_split(config, source, names, split)
        for split in ("train", "validation", "test")
    }
    other = before = None
    if config.other_data:
        source = open_data(config, config.other_data, other=True)
        other = load_split(config, source, source.features["label"].names, "test")
        before = probe(build_model(config, names, questions), other)
    return Task(names, questions, **splits, other=other, other_before=before)


def load_split(
    config: Config, source: kmmft.data.RecordSource, names: list[str], split: str
) -> Examples:
    questions = "question" in source.features
    model = build_model(config, names, questions)
    answers = kmmft.data.Vocabulary(names, len(names)) if questions else None

    def preprocess(record):
        decoded = model.decode_record(record)
        if answers is None:
            return decoded
        return {**decoded, "label": answers.lookup(record["answer"])}

    dataset = kmmft.data.build_dataset(
        source,
        split=split,
        preprocess=preprocess,
        batch_preprocess=model.prepare_batch,
        batch_size=64,
        training=False,
        max_bad_fraction=config.max_bad_fraction,
    )
    return Examples.collect(dataset, config.max_examples)


def open_data(config: Config, name: str, other: bool = False):
    """Opens the data, after building those that the recipe knows to make."""
    folder = pathlib.Path(config.output_dir, "data")
    schema = kmmft.data.schema.labelled(text=False, class_names=["any"])
    if name == "easy_vqa":
        schema = kmmft.data.schema.image_question_answer()
        directory = pathlib.Path("data/easy_vqa/1.0.0")
        if not directory.exists():
            tfrecords_tools.build_easy_vqa(output_dir="data")
    elif name == "open_clip_art":
        directory = folder / ("other/1.0.0" if other else "drawings/1.0.0")
        if not directory.exists():
            tfrecords_tools.build_open_clip_art_classes(
                output_dir=folder,
                name=directory.parent.name,
                **(OTHER_DRAWINGS if other else {}),
            )
    elif name == "shapes":
        directory = folder / "shapes/1.0.0"
        if not directory.exists():
            tfrecords_tools.build_manifest(
                manifest=kmmft.data.write_colored_shapes(folder / "pictures"),
                output_dir=folder,
                name="shapes",
                image_column="image",
                label_column="caption",
                split_column="split",
            )
    else:
        directory = name
    return kmmft.data.open_source(directory, schema)


# === One run ===


def build_model(
    config: Config, class_names: list[str], questions: bool
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


def run_method(
    config: Config,
    task: Task,
    *,
    method: str,
    labels: float,
    learning_rate: float,
    seed: int,
) -> dict[str, float]:
    """One run from the pretrained weights to its numbers."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    chosen, train = METHODS[method], task.train.few(labels, seed)
    with kmmft.training.make_strategy(config.strategy).scope():
        model = build_model(config, task.class_names, task.questions)
        with kmmft.evaluation.TrainingCost() as cost:
            fit(config, model, chosen, train, task, learning_rate, seed, cost)
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


def fit(
    config: Config,
    model: kmmft.models.FusionClassifier,
    method: Method,
    train: Examples,
    task: Task,
    learning_rate: float,
    seed: int,
    cost: keras.callbacks.Callback,
) -> None:
    plan = method.plan(config, model, train)
    if not config.train_text_encoder and task.questions:
        plan = Plan([Rule("text_encoder/*", train=False), *plan.rules])
    callback = plan.apply(model)
    model.step_options = method.options(config)
    model.compile(
        kmmft.training.adamw(
            learning_rate, total_steps=config.steps, weight_decay=config.weight_decay
        )
    )
    augment = kmmft.data.ImageAugmentation(crop_area=(config.smallest_crop, 1.0))
    half = config.epochs // 2
    for first, last in ((0, half), (half, config.epochs)):
        if first and method.halfway:
            state = method.halfway(model)
        model.fit(
            train.training_batches(config.batch_size, seed + first, augment),
            initial_epoch=first,
            epochs=last,
            steps_per_epoch=config.steps // config.epochs,
            callbacks=[callback, cost],
            shuffle=False,
            verbose=0,
        )
    if method.finish:
        method.finish(model, state, lambda: accuracy(model, task.validation))


def accuracy(model: keras.Model, examples: Examples) -> float:
    logits = model.predict(examples.inputs, batch_size=64, verbose=0)
    return float((logits.argmax(axis=-1) == examples.labels).mean())


def probe(model: kmmft.models.FusionClassifier, other: Examples) -> float:
    """What a simple classifier reads out of the image encoder's features."""
    features = model.encoders["image"].predict(
        other.inputs["image"], batch_size=64, verbose=0
    )
    return kmmft.evaluation.feature_probe(features["pooled"], other.labels)


# === The comparison ===


def main(config: Config) -> dict[str, float]:
    """Runs all methods and reports; returns what metrics.json holds."""
    return kmmft.evaluation.show_run(
        config, run_all, lambda metrics: method_tables(config, metrics)[0]
    )


def run_all(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    keras.config.set_dtype_policy(config.dtype_policy)
    task = load_task(config)
    metrics = {} if task.other is None else {"other_before": task.other_before}
    rates, tried = {}, numbers("learning_rates", config.learning_rates)
    for labels, method in itertools.product(
        numbers("labels", config.labels), config.method_names()
    ):
        rows = kmmft.evaluation.search_and_repeat(
            run.path / "runs",
            {"method": method, "labels": labels},
            functools.partial(run_method, config, task),
            setting="learning_rate",
            values=rates.get(method) or tried,
            score="validation_accuracy",
            seeds=range(config.seed, config.seed + config.seeds),
        )
        rates[method] = [rows[0]["learning_rate"]]
        metrics |= method_metrics(f"{method}/{labels}_labels", rows)
    metrics["peak_memory_mb"] = kmmft.evaluation.peak_memory_mb()
    kmmft.evaluation.write_report(
        run.report,
        title="Ways of fine-tuning compared",
        metrics=metrics,
        history={},
        examples=[],
        confusion=None,
        config=run.config,
        tables=method_tables(config, metrics),
        sections=charts(config, metrics),
        notes=__doc__.split("\n\n")[1].replace("\n", " "),
    )
    run.write_metrics(metrics)
    return metrics


def prefixes(config: Config, labels: float) -> dict[str, str]:
    return {
        method.replace("_", " "): f"{method}/{labels}_labels"
        for method in config.method_names()
    }


def method_tables(config: Config, metrics: dict[str, float]) -> list[Table]:
    """For each number of labels the methods, the best one first."""
    before = metrics.get("other_before")
    note = f"Means and deviations over {config.seeds} seeds."
    accuracies = {"test_accuracy": "test"}
    if before is not None:
        accuracies["other_accuracy"] = "other pictures"
        note += (
            " Other pictures: what a linear probe reads out of the image encoder about "
            f"kinds of pictures that it was not tuned on; before: {before:.1%}."
        )
    return [
        kmmft.evaluation.method_table(
            metrics, prefixes(config, labels), heading(labels), accuracies, note
        )
        for labels in numbers("labels", config.labels)
    ]


def heading(labels: float) -> str:
    return f"{labels} labels a class" if labels >= 1 else f"{labels:.1%} of the labels"


def charts(config: Config, metrics: dict[str, float]) -> list[str]:
    """Accuracy against weights and against time, for each number of labels."""
    costs = {"trained_weights": "weights trained", "seconds": "seconds of training"}
    return [
        chart
        for labels in numbers("labels", config.labels)
        for chart in kmmft.evaluation.method_charts(
            metrics, prefixes(config, labels), heading(labels), costs
        )
    ]


PRESETS = {
    # EfficientNet has no transformer blocks for adapters.
    "open_clip_art": Config(
        methods=",".join(name for name in METHODS if name != "adapters")
    ),
    "easy_vqa": Config(
        data="easy_vqa",
        output_dir="runs/compare_finetuning_easy_vqa",
        labels="0.01",
        image_size=64,
    ),
    "smoke": Config(
        data="shapes",
        other_data="shapes",
        output_dir="runs/compare_finetuning_smoke",
        methods="full,linear_probe,l2_sp",
        labels="4",
        seeds=2,
        learning_rates="1e-3,1e-2",
        steps=8,
        epochs=2,
        image_size=32,
        max_bad_fraction=0.0,
    ),
}

if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
