"""Classifies labelled images by the names of their classes, without training on them.

Data: `--data DIR`, records of `kmmft.data.schema.labelled`, or `--manifest FILE` with
a column of image paths and one of classes. The model is a run directory of
`recipes.contrastive` or of `recipes.captioning --model coca`, a `.keras` file, or a
CLIP or SigLIP checkpoint.

    python -m recipes.contrastive --preset smoke && \\
        python -m recipes.zero_shot --preset smoke
    python -m recipes.zero_shot --model runs/contrastive --data data/pets/1.0.0
"""

import dataclasses
import pathlib

import kmmft
import tfrecords_tools
from kmmft.evaluation import TEMPLATES, Table

SCORES = ("accuracy", "top_5_accuracy", "balanced_accuracy", "macro_f1")


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one evaluation."""

    model: str = "runs/contrastive"
    """Run directory of recipes.contrastive or of a coca, .keras file, or checkpoint."""
    data: str = ""
    """TFDS directory, or glob of its shards."""
    manifest: str = ""
    """CSV, TSV or JSONL file of labelled images, in place of --data; shapes: small
    pictures that are drawn on the spot."""
    image_column: str = "image"
    """Column of image paths, relative to the file."""
    label_column: str = "label"
    """Column of class names."""
    split_column: str = ""
    """Column of train, validation and test; without one, by a hash of the image."""
    split: str = "test"
    """Split to classify."""
    templates: str = "{}|a photo of a {}."
    """Sentences with {} for the class, separated by |; their vectors are averaged.
    imagenet: the seven that suit ImageNet best."""
    output_dir: str = "runs/zero_shot"
    """Directory of the result."""
    skip_bad: bool = False
    """Whether bad rows of the manifest are left out, as run.log tells; otherwise the
    first one is an error."""
    resume: bool = True
    """Whether a result that is in output_dir may be shown again."""


PRESETS = {
    "default": Config(),
    "smoke": Config(
        model="runs/contrastive_smoke",
        manifest="shapes",
        label_column="caption",
        split_column="split",
        templates="{}",
        output_dir="runs/zero_shot_smoke",
    ),
}


def open_data(config: Config) -> kmmft.data.RecordSource:
    """Opens the data, after building them where a manifest is given."""
    kmmft.training.check_one_source(manifest=config.manifest, data=config.data)
    schema = kmmft.data.schema.labelled(text=False, class_names=["any"])
    if config.data:
        return kmmft.data.open_source(config.data, schema)
    folder = pathlib.Path(config.output_dir, "data")
    directory = folder / "labelled/1.0.0"
    if not directory.exists():
        manifest = config.manifest
        if manifest == "shapes":
            manifest = kmmft.data.write_colored_shapes(folder / "pictures")
        tfrecords_tools.build_manifest(
            manifest=manifest,
            output_dir=folder,
            name="labelled",
            image_column=config.image_column,
            label_column=config.label_column,
            split_column=config.split_column or None,
            options=tfrecords_tools.BuildOptions(skip_bad=config.skip_bad),
        )
    return kmmft.data.open_source(directory, schema)


def main(config: Config) -> dict[str, float]:
    """Classifies and reports; returns what metrics.json holds."""
    return kmmft.evaluation.show_run(config, run_once, result_table)


def run_once(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    source = open_data(config)
    model = kmmft.models.load_dual_encoder(config.model)
    templates = config.templates.split("|")
    if config.templates == "imagenet":
        templates = TEMPLATES
    evaluator = kmmft.evaluation.ZeroShotEvaluator(
        source, config.split, templates=templates
    )
    with kmmft.data.clear_data_errors(source):
        predictions = evaluator.predictions(model)
    scores = kmmft.evaluation.zero_shot_metrics(predictions, evaluator.class_names)
    metrics = {f"{config.split}/{name}": value for name, value in scores.items()}
    kmmft.evaluation.report_classifier(
        run,
        predictions,
        title="Zero-shot classification",
        source=source,
        split=config.split,
        class_names=evaluator.class_names,
        text="id",
        metrics=metrics,
        tables=[result_table(metrics)],
        notes=f"Classes by their names in {', '.join(templates)}.",
    )
    run.write_metrics(metrics)
    return metrics


def result_table(metrics: dict[str, float]) -> Table:
    """The scores beside each other."""
    found = {
        score: value
        for score in SCORES
        for name, value in metrics.items()
        if name.partition("/")[2] == score
    }
    header = [name.replace("_", " ") for name in found]
    return Table("Zero-shot classification", header, [list(found.values())])


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
