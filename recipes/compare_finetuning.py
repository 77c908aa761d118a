"""Compares ways of fine-tuning on the same few labels, with the same effort for each.

Every method gets the same pretrained encoders, labelled examples, batches, number of
optimizer steps and learning rates to try; the rate is chosen on validation data, of
equals the lowest. Then every seed draws other examples, another head and another order,
the same ones for every method. One table shows test accuracy with its spread over the
seeds, the difference to full fine-tuning seed by seed, what was trained, time, memory,
and how much the image encoder has forgotten about other pictures.

    python -m recipes.compare_finetuning --preset smoke
    python -m recipes.compare_finetuning --preset open_clip_art
    python -m recipes.compare_finetuning --preset easy_vqa

The methods are in comparisons/finetuning_methods.py, and one run is in
comparisons/finetuning_run.py. Each finished run is a file in `runs/` of the output
directory: the same command goes on after a kill.

On Open Clip Art most methods could not be told apart, on 1 % of easy-VQA WiSE-FT and
LP-FT helped, and on neither did L2-SP: see the README's tables.
"""

import dataclasses
import functools

import keras

import kmmft
from kmmft.evaluation import Table, method_prefix

from .comparisons import finetuning_run
from .comparisons.finetuning_methods import METHODS
from .comparisons.settings import ComparisonConfig


@dataclasses.dataclass(frozen=True)
class Config(ComparisonConfig):
    """Settings of one comparison."""

    data: str = "open_clip_art"
    """TFDS directory of labelled images, or of questions about images. open_clip_art:
    drawings of eight kinds, from two Debian packages; easy_vqa: the data of the pip
    package easy-vqa; shapes: small pictures that are drawn on the spot."""
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
    epochs: int = 4
    """Stretches of the run; some methods unfreeze weights at their ends."""
    strength: float = 1e-2
    """Strength of l2 and l2_sp."""
    pseudo_label_threshold: float = 0.95
    """Least probability at which fix_match and self_training take the model's answer
    for a label."""
    unlabelled_ratio: int = 3
    """Unlabelled examples for each labelled one in fix_match's batches, drawn from all
    training examples."""
    train_text_encoder: bool = True
    """Whether the methods are for the text encoder too, or it stays frozen."""
    image_size: int = 96
    """Height and width of the images in pixels."""
    sequence_length: int = 12
    """Tokens of a question."""
    smallest_crop: float = 0.6
    """Smallest part of a training image's area that is cut out; 1 for all of it."""
    max_train_examples: int = 50_000
    """Training examples that are held in memory, at most: all labels are of these."""
    max_test_examples: int = 2000
    """Examples of validation and of test, at most."""

    def __post_init__(self):
        super().__post_init__()
        self.check_counts("max_train_examples", "max_test_examples", "unlabelled_ratio")
        if not 0 <= self.pseudo_label_threshold <= 1:
            raise ValueError(
                "`--pseudo_label_threshold` must be from 0 to 1. Received: "
                f"{self.pseudo_label_threshold}."
            )
        unknown = sorted(set(self.method_names()) - set(METHODS))
        if unknown:
            raise ValueError(
                f"`--methods` must be of {', '.join(METHODS)}. Received: {unknown}."
            )
        if any(number > 1 and number % 1 for number in self.numbers("labels")):
            raise ValueError(
                "`--labels` must be whole numbers, or shares below 1. "
                f"Received: {self.labels!r}."
            )
        if self.epochs < 2 or self.steps % self.epochs:
            raise ValueError(
                "`--steps` must be a multiple of `--epochs`, at least two. Received: "
                f"{self.steps} and {self.epochs}."
            )

    def method_names(self) -> list[str]:
        return self.methods.split(",") if self.methods else list(METHODS)


PRESETS = {
    # In EfficientNet, which has no transformer blocks, `adapters` is `lora`.
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


def main(config: Config) -> dict[str, float]:
    """Runs all methods and reports; returns what metrics.json holds."""
    return kmmft.evaluation.show_run(
        config, run_all, lambda metrics: method_tables(config, metrics)[0]
    )


def run_all(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    keras.config.set_dtype_policy(config.dtype_policy)
    task = finetuning_run.load_task(config)
    finetuning_run.check_methods(config, task)
    metrics = kmmft.evaluation.compare_methods(
        run.path / "runs",
        functools.partial(finetuning_run.run_method, config, task),
        methods=config.method_names(),
        reference="full",
        **config.effort(),
    )
    if task.other_before is not None:
        metrics["other_before"] = task.other_before
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
        method.replace("_", " "): method_prefix(method, labels)
        for method in config.method_names()
    }


def method_tables(config: Config, metrics: dict[str, float]) -> list[Table]:
    """For each number of labels the methods, the best one first."""
    before = metrics.get("other_before")
    note = (
        f"Means and deviations over {config.seeds} seeds. Answers of a training that "
        "diverged count as wrong: 0.0% is not chance."
    )
    accuracies = {"test_accuracy": "test"}
    if before is not None:
        accuracies["other_accuracy"] = "other pictures"
        note += (
            " Other pictures: what a linear probe reads out of the image encoder about "
            f"kinds of pictures that it was not tuned on; before: {before:.1%}."
        )
    return [
        kmmft.evaluation.method_table(
            metrics,
            prefixes(config, labels),
            heading(labels),
            accuracies,
            note,
            reference="full",
        )
        for labels in config.numbers("labels")
    ]


def heading(labels: float) -> str:
    return f"{labels} labels a class" if labels >= 1 else f"{labels:.1%} of the labels"


def charts(config: Config, metrics: dict[str, float]) -> list[str]:
    """Accuracy against weights and against time, for each number of labels."""
    costs = {"trained_weights": "weights trained", "seconds": "seconds of training"}
    return [
        chart
        for labels in config.numbers("labels")
        for chart in kmmft.evaluation.method_charts(
            metrics, prefixes(config, labels), heading(labels), costs
        )
    ]


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
