"""Classifies sounds or speech, from a CSV file to a served model.

Data: `--manifest FILE`, a CSV, TSV or JSONL file with a column of paths of sounds (WAV;
FLAC and Ogg become WAV; `pip install 'kmmft[audio]'`) and one of labels, or
`--data DIR`, records of `kmmft.data.schema.labelled`. Clips of one speaker or recording
belong in one split: name them by `--group_column`, or the test flatters. The model is a
small network that knows nothing yet, or a KerasHub preset of Whisper or Moonshine.

    python -m recipes.audio_classification --preset smoke
    python -m recipes.audio_classification --manifest speech.csv --label_column language
    python -m recipes.audio_classification --manifest speech.csv \\
        --audio_encoder whisper_tiny_multi --learning_rate 1e-4

The run directory keeps `model.keras`, and serves WAV files from `export/1`.
"""

import dataclasses
import functools
import pathlib

import numpy as np
import tensorflow as tf

import kmmft
import tfrecords_tools
from kmmft.evaluation import Predictions, Table


@dataclasses.dataclass(frozen=True)
class Config(kmmft.training.AudioRecipeConfig):
    """Settings of one run."""

    output_dir: str = "runs/audio_classification"
    """Directory of the run. The same command goes on with a run that was killed."""
    label_column: str = "label"
    """Column of class names."""
    dropout_rate: float = 0.1
    """Dropout in the head."""


PRESETS = {
    "default": Config(),
    "smoke": Config(
        manifest="tones",
        split_column="split",
        output_dir="runs/audio_classification_smoke",
        audio_seconds=1.0,
        hidden_dim=64,
        spec_augment=False,
        epochs=6,
        patience=6,
        batch_size=16,
        learning_rate=3e-3,
        max_bad_fraction=0.0,
    ),
}


def open_data(config: Config) -> kmmft.data.RecordSource:
    """Opens the data, after building them where a manifest is given."""
    config.check_data()
    schema = kmmft.data.schema.labelled(False, False, ["any"], audio=True)
    folder = pathlib.Path(config.output_dir, "data")
    directory = config.data or folder / "sounds/1.0.0"
    if not (config.data or directory.exists()):
        manifest = config.manifest
        if manifest == "tones":
            manifest = kmmft.data.write_tones(folder / "tones")
        tfrecords_tools.build_manifest(
            manifest=manifest,
            output_dir=folder,
            name="sounds",
            audio_column=config.audio_column,
            label_column=config.label_column,
            split_column=config.split_column or None,
            group_column=config.group_column or None,
            options=tfrecords_tools.BuildOptions(
                audio_to_wav=True, skip_bad=config.skip_bad
            ),
        )
    return kmmft.data.check_splits(kmmft.data.open_source(directory, schema))


def build_data(
    config: Config,
    source: kmmft.data.RecordSource,
    split: str,
    model: kmmft.models.FusionClassifier,
    start_step: int | None = None,
    input_context: tf.distribute.InputContext | None = None,
    keep_records: bool = False,
) -> tf.data.Dataset:
    """Batches of (inputs, label); endless and shuffled if `start_step` is given."""
    return kmmft.data.build_dataset(
        source,
        split=split,
        preprocess=model.decode_record,
        batch_preprocess=lambda batch: model.prepare_batch(batch, keep_records),
        **config.reading_from(start_step, input_context),
    )


def build_model(
    config: Config, class_names: list[str]
) -> kmmft.models.FusionClassifier:
    return kmmft.models.FusionClassifier(
        {"audio": config.build_audio_encoder()},
        fusion=None,
        class_names=class_names,
        dropout_rate=config.dropout_rate,
    )


def main(config: Config) -> dict[str, float]:
    """Trains, tests, reports and exports; returns what metrics.json holds."""
    return kmmft.evaluation.show_run(config, run_once, accuracy_table)


def run_once(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    source = open_data(config)
    with kmmft.data.clear_data_errors(source):
        model, metrics = kmmft.training.fit_classifier(
            config,
            run,
            lambda: build_model(config, source.features["label"].names),
            functools.partial(build_data, config, source),
            kmmft.data.steps_per_epoch(source, "train", config.batch_size),
        )
        predictions = kmmft.evaluation.predict_records(
            model, build_data(config, source, "test", model, keep_records=True)
        )
    scores = predictions.metrics(model.class_names)
    metrics |= {f"test/{name}": value for name, value in scores.items()}
    metrics["majority/accuracy"] = majority_accuracy(predictions)
    metrics["peak_memory_mb"] = kmmft.evaluation.peak_memory_mb()
    run.write_model(model)
    if not (run.export / "1").exists():
        raw = model.raw_columns(
            kmmft.data.first_records(source, "test", 3, on_error="skip")
        )
        card = kmmft.export.ModelCard.from_run(
            run, "Audio classification", source, metrics
        )
        kmmft.export.export_bundle(model, run.export, raw, card=card, version=1)
    kmmft.evaluation.report_classifier(
        run,
        predictions,
        title="Audio classification",
        source=source,
        split="test",
        class_names=model.class_names,
        text="id",
        metrics=metrics,
        tables=[accuracy_table(metrics)],
        notes=__doc__.split("\n", 1)[0],
    )
    run.write_metrics(metrics)
    return metrics


def majority_accuracy(predictions: Predictions) -> float:
    """Accuracy of always naming the class that is most frequent in the test split."""
    counts = np.bincount(predictions.records["label"])
    return float(counts.max() / counts.sum())


def accuracy_table(metrics: dict[str, float]) -> Table:
    """Test accuracy, beside that of always naming the most frequent class."""
    return Table(
        "Test accuracy",
        ["", "accuracy", "macro F1"],
        [
            ["most frequent class", metrics["majority/accuracy"], None],
            ["this model", metrics["test/accuracy"], metrics["test/macro_f1"]],
        ],
        highlight=1,
    )


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
