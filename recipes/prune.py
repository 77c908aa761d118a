"""Makes a trained visual question answering model smaller, and trains what is left.

Of one trained model several smaller ones are made: with the smallest weights at zero,
with fewer hidden units in the feed-forwards of its transformers, and with some of its
text encoder's layers. Each is tested, trained for some steps to recover, and tested
again.

    python -m recipes.visual_question_answering --preset quickstart
    python -m recipes.prune --preset quickstart

The report compares accuracy before and after recovery, size and latency. Each model and
its export are in a directory of their own, such as `units_50/export/1`. A model with
zeros is smaller only when it is compressed.
"""

import dataclasses
import functools
import pathlib
import shutil
import tempfile
from collections.abc import Callable

import kmmft
from kmmft.evaluation import Table
from kmmft.models import FusionClassifier

from .comparisons.data import open_questions
from .smaller.data import build_data
from .smaller.layers import spread
from .smaller.measuring import measured, served_export, test, with_prefix

Make = Callable[[FusionClassifier], FusionClassifier]


@dataclasses.dataclass(frozen=True)
class Config(kmmft.training.RecipeConfig):
    """Settings of one run. The encoders, with `image_size` and `sequence_length`, are
    those of the trained model; `steps` takes the place of `epochs`."""

    data: str = "easy_vqa"
    """TFDS directory; easy_vqa for the data of the pip package easy-vqa; shapes for
    small pictures that are drawn on the spot."""
    output_dir: str = "runs/prune"
    """Directory of the run. The same command goes on with a run that was killed."""
    model: str = "runs/quickstart"
    """Run directory of recipes.visual_question_answering, or a .keras file."""
    zeros: tuple[float, ...] = (0.5, 0.7, 0.9)
    """Shares of the weights of all kernels that become zero, a model each."""
    hidden_units: tuple[float, ...] = (0.5, 0.75)
    """Shares of the hidden units of feed-forwards that go, a model each."""
    importance_batches: int = 20
    """Training batches by whose loss hidden units are chosen; 0 to choose by the size
    of their weights."""
    text_layers: tuple[int, ...] = (3,)
    """Numbers of layers of the text encoder that are left, evenly spaced, a model
    each."""
    steps: int = 200
    """Optimizer steps of a model's recovery, validated --validations_per_epoch times;
    the best weights are kept. --epochs has no meaning here."""
    max_accuracy_drop: float = 0.005
    """What a model may lose in the validation split to be chosen; the smallest is, as
    it is when zipped."""
    horizontal_flip: bool = True
    """Whether training images are mirrored at random."""

    def __post_init__(self):
        super().__post_init__()
        # They come back from JSON, of which `--config` reads them, as lists.
        for name in ("zeros", "hidden_units", "text_layers"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("zeros", "hidden_units"):
            if not all(0 < share < 1 for share in getattr(self, name)):
                raise ValueError(
                    f"`--{name}` must be in (0, 1). Received: {getattr(self, name)}."
                )
        if self.importance_batches < 0 or not 0 <= self.max_accuracy_drop <= 1:
            raise ValueError(
                "`--importance_batches` must not be negative, and "
                "`--max_accuracy_drop` must be in [0, 1]. Received: "
                f"{self.importance_batches} and {self.max_accuracy_drop}."
            )
        if self.steps < 1 or not all(count > 0 for count in self.text_layers):
            raise ValueError(
                "`--steps` and `--text_layers` must be at least 1. Received: "
                f"{self.steps} and {self.text_layers}."
            )
        if not (self.zeros or self.hidden_units or self.text_layers):
            raise ValueError(
                "There must be a smaller model to make. Received: none of --zeros, "
                "--hidden_units and --text_layers."
            )


PRESETS = {
    "quickstart": Config(learning_rate=3e-4, validations_per_epoch=4),
    "smoke": Config(
        data="shapes",
        output_dir="runs/prune_smoke",
        model="runs/visual_question_answering_smoke",
        zeros=(0.5,),
        hidden_units=(0.5,),
        importance_batches=2,
        steps=10,
        batch_size=16,
        learning_rate=1e-3,
        max_bad_fraction=0.0,
    ),
}


def smaller_models(
    config: Config, source: kmmft.data.RecordSource
) -> dict[str, tuple[str, Make]]:
    """What each smaller model is called, and what makes it of the trained one."""
    made = {}
    for share in config.zeros:
        make, percent = functools.partial(with_zeros, share), f"{100 * share:g}"
        made[f"zeros_{percent}"] = f"{percent}% of the kernels' weights zero", make
    for share in config.hidden_units:
        make = functools.partial(with_fewer_units, config, source, share)
        percent = f"{100 * share:g}"
        made[f"units_{percent}"] = f"{percent}% of the hidden units fewer", make
    for count in config.text_layers:
        make = functools.partial(with_fewer_layers, count)
        made[f"layers_{count}"] = f"{count} layers of text", make
    return made


def with_zeros(share: float, model: FusionClassifier) -> FusionClassifier:
    kmmft.finetuning.prune(model, share)
    return model


def with_fewer_units(
    config: Config,
    source: kmmft.data.RecordSource,
    share: float,
    model: FusionClassifier,
) -> FusionClassifier:
    if not config.importance_batches:
        return kmmft.finetuning.prune_hidden_units(model, share)
    model.compile()
    batches = build_data(config, source, "train", model, start_step=0)
    return kmmft.finetuning.prune_hidden_units(
        model, share, dataset=batches.take(config.importance_batches)
    )


def with_fewer_layers(count: int, model: FusionClassifier) -> FusionClassifier:
    encoder = model.encoders["question"]
    kept = spread(encoder, count, "text_layers")
    return kmmft.finetuning.keep_layers(model, kept, targets=f"{encoder.name}/*")


def load_trained(config: Config) -> FusionClassifier:
    with kmmft.training.make_strategy(config.strategy).scope():
        model = kmmft.models.load_fusion_classifier(config.model)
    for name, encoder in model.encoders.items():
        trains = config.train_image_encoder
        encoder.trainable = trains if name == "image" else config.train_text_encoder
    return model


def test_and_recover(
    config: Config,
    source: kmmft.data.RecordSource,
    make: Make,
    run: kmmft.training.RunDirectory,
) -> dict[str, float]:
    """Tests a smaller model, trains it for a while, and tests it again."""
    model = make(load_trained(config))
    data = functools.partial(build_data, config, source, "test", keep_records=True)
    _, before = test(model, data(model=model))
    model, trained = kmmft.training.fit_classifier(
        # So that the steps are all there are.
        dataclasses.replace(config, epochs=1),
        run,
        lambda: model,
        functools.partial(build_data, config, source),
        config.steps,
    )
    _, after = test(model, data(model=model))
    run.write_model(model)
    found = after | trained | with_prefix("before", before)
    found |= validate(config, source, model)
    return found | size(model, source, run)


def validate(
    config: Config, source: kmmft.data.RecordSource, model: FusionClassifier
) -> dict[str, float]:
    """The accuracy by which a model is chosen: the test is for the chosen one."""
    data = build_data(config, source, "validation", model, keep_records=True)
    return {"validation/accuracy": test(model, data)[1]["test/accuracy"]}


def size(
    model: FusionClassifier,
    source: kmmft.data.RecordSource,
    run: kmmft.training.RunDirectory,
    export: pathlib.Path | None = None,
) -> dict[str, float]:
    """Of the served model: megabytes, those of a zip file, and latency."""
    raw = model.raw_columns(
        kmmft.data.first_records(source, "test", 3, on_error="skip")
    )
    export = export or run.export
    found = measured(model, export, raw)
    with tempfile.TemporaryDirectory() as folder:
        file = shutil.make_archive(f"{folder}/export", "zip", export / "1")
        found["zipped_mb"] = pathlib.Path(file).stat().st_size / 2**20
    return found


def comparison_table(config: Config, metrics: dict[str, float]) -> Table:
    """Accuracy before and after recovery, size and latency of each model."""
    columns = {
        "parameters": "parameters",
        "size_mb": "MB",
        "zipped_mb": "zipped",
        "latency_ms/batch_1": "ms, 1 row",
        "latency_ms/batch_32": "ms, 32",
        "before/test/accuracy": "before",
        "test/accuracy": "after",
    }
    names = smaller_models(config, None)
    titles = {"trained": "as trained"} | {name: names[name][0] for name in names}
    chosen = choose(config, metrics, list(titles))
    return Table(
        "Smaller models",
        ["model", *columns.values()],
        [
            [title, *(metrics.get(f"{name}/{key}") for key in columns)]
            for name, title in titles.items()
        ],
        highlight=list(titles).index(chosen),
        note=f"Before, after: test accuracy before and after recovery, {config.steps} "
        f"steps of {config.batch_size} questions. Chosen is the smallest zip file that "
        f"loses at most {config.max_accuracy_drop:.1%} in the validation split. MB and "
        "ms: of the served model, from JPEG and string to answer.",
    )


def choose(config: Config, metrics: dict[str, float], names: list[str]) -> str:
    key = "validation/accuracy"
    least = metrics[f"trained/{key}"] - config.max_accuracy_drop
    good = [name for name in names if metrics[f"{name}/{key}"] >= least]
    return min(good, key=lambda name: metrics[f"{name}/zipped_mb"])


def main(config: Config) -> dict[str, float]:
    """Makes, trains, tests and reports; returns what metrics.json holds."""
    table = functools.partial(comparison_table, config)
    return kmmft.evaluation.show_run(config, run_once, table)


def run_once(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    folder = pathlib.Path(config.output_dir, "data")
    source = kmmft.data.check_splits(open_questions(config.data, folder))
    metrics = {}
    with kmmft.data.clear_data_errors(source):
        trained = load_trained(config)
        data = build_data(config, source, "test", trained, keep_records=True)
        predictions, found = test(trained, data)
        export = served_export(config.model, run, "trained_export")
        found |= validate(config, source, trained)
        found |= size(trained, source, run, export)
        metrics |= with_prefix("trained", found)
        for name, (_, make) in smaller_models(config, source).items():
            with kmmft.training.RunDirectory(run.path / name, config) as own:
                found = own.metrics() or test_and_recover(config, source, make, own)
                own.write_metrics(found)
            metrics |= with_prefix(name, found)
    metrics["peak_memory_mb"] = kmmft.evaluation.peak_memory_mb()
    kmmft.evaluation.report_classifier(
        run,
        predictions,
        title="Smaller models",
        source=source,
        split="test",
        class_names=predictions.class_names(trained.class_names),
        text="question",
        metrics=metrics,
        tables=[comparison_table(config, metrics)],
        notes=__doc__.split("\n", 1)[0],
    )
    run.write_metrics(metrics)
    return metrics


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
