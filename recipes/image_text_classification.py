"""Classifies image-text pairs, from a CSV file to a served model.

Data: `--csv FILE` with a column of image paths, one of texts and one of labels (and,
if you like, one of splits), or `--data DIR`, records of `kmmft.data.schema.labelled`.
The served model takes an empty string for an image or a text that is missing: modality
dropout prepares it for that, and the table shows what it is worth with either alone.
The report also shows how far each layer moved from its pretrained start.

    python -m recipes.image_text_classification --preset smoke
    python -m recipes.image_text_classification --csv posts.csv --label_column topic
"""

import dataclasses
import functools
import pathlib

import keras
import numpy as np
import tensorflow as tf

import kmmft
import tfrecords_tools
from kmmft.evaluation import Forgetting, ForgettingMeter, Predictions, Table


@dataclasses.dataclass(frozen=True)
class Config(kmmft.training.RecipeConfig):
    """Settings of one run."""

    output_dir: str = "runs/image_text_classification"
    """Directory of the run. The same command goes on with a run that was killed."""
    csv: str = ""
    """CSV, TSV or JSONL file of examples, in place of --data; shapes: small pictures
    that are drawn on the spot."""
    image_column: str = "image"
    """Column of image paths, relative to the file."""
    text_column: str = "text"
    """Column of texts."""
    label_column: str = "label"
    """Column of class names."""
    split_column: str = ""
    """Column of train, validation and test; without one, by a hash of the example."""
    hidden_dim: int = 256
    """Width of the fusion layer."""
    dropout_rate: float = 0.1
    """Dropout in the head."""
    modality_dropout_rate: float = 0.2
    """How often image or text is hidden from the model in training."""
    horizontal_flip: bool = True
    """Whether training images are mirrored at random."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes."""
    focal_gamma: float = 0.0
    """Focusing parameter of the focal loss; 0 is cross-entropy."""
    class_weights: bool = False
    """Whether rare classes count more, so that all classes count alike."""


PRESETS = {
    "default": Config(),
    "smoke": Config(
        csv="shapes",
        split_column="split",
        output_dir="runs/image_text_classification_smoke",
        train_image_encoder=False,
        train_text_encoder=False,
        image_size=64,
        sequence_length=12,
        hidden_dim=64,
        dropout_rate=0.0,
        epochs=3,
        batch_size=16,
        learning_rate=1e-2,
        max_bad_fraction=0.0,
    ),
}


def open_data(config: Config) -> kmmft.data.RecordSource:
    """Opens the data, after building them from the CSV file."""
    if bool(config.csv) == bool(config.data):
        raise ValueError(
            "Either `--csv` or `--data` must be given. Received: "
            f"csv={config.csv!r}, data={config.data!r}."
        )
    schema = kmmft.data.schema.labelled(class_names=["any"])
    if config.data:
        return kmmft.data.open_source(config.data, schema)
    folder = pathlib.Path(config.output_dir, "data")
    directory = folder / "pairs/1.0.0"
    if not directory.exists():
        manifest = config.csv
        if manifest == "shapes":
            manifest = kmmft.data.write_colored_shapes(folder / "pictures")
        tfrecords_tools.build_manifest(
            manifest=manifest,
            output_dir=folder,
            name="pairs",
            image_column=config.image_column,
            text_column=config.text_column,
            label_column=config.label_column,
            split_column=config.split_column or None,
        )
    return kmmft.data.open_source(directory, schema)


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
    flip = kmmft.data.ImageAugmentation(
        crop_area=(1, 1), brightness=0.0, contrast=0.0, saturation=0.0
    )

    def augment(record, seed):
        return {**record, "image": flip(record["image"], seed)}

    return kmmft.data.build_dataset(
        source,
        split=split,
        preprocess=model.decode_record,
        augment=augment if config.horizontal_flip else None,
        batch_preprocess=lambda batch: model.prepare_batch(batch, keep_records),
        batch_size=config.batch_size,
        training=start_step is not None,
        start_step=start_step or 0,
        input_context=input_context,
        **config.reading(start_step is not None),
    )


def build_model(
    config: Config, class_names: list[str]
) -> kmmft.models.FusionClassifier:
    image_encoder = kmmft.encoders.ImageEncoder.from_preset(
        config.image_encoder, image_size=config.image_size
    )
    image_encoder.trainable = config.train_image_encoder
    text_encoder = kmmft.encoders.TextEncoder.from_preset(
        config.text_encoder, sequence_length=config.sequence_length
    )
    text_encoder.trainable = config.train_text_encoder
    return kmmft.models.FusionClassifier(
        {"image": image_encoder, "text": text_encoder},
        fusion=kmmft.layers.GatedFusion(
            config.hidden_dim, modality_dropout_rate=config.modality_dropout_rate
        ),
        class_names=class_names,
        dropout_rate=config.dropout_rate,
        missing_modalities=True,
    )


def class_weights(source: kmmft.data.RecordSource, split: str) -> dict[int, float]:
    """Weights that make all classes count alike, 1 on average over the records."""
    records = kmmft.data.read_records(source, split).map(
        lambda serialized: kmmft.data.parse_record(serialized, source.features)["label"]
    )
    labels = np.fromiter(records.as_numpy_iterator(), np.int64)
    classes, counts = np.unique(labels, return_counts=True)
    weights = len(labels) / (len(classes) * counts)
    return dict(zip(classes.tolist(), weights.tolist(), strict=True))


def train(
    config: Config,
    source: kmmft.data.RecordSource,
    run: kmmft.training.RunDirectory,
) -> tuple[kmmft.models.FusionClassifier, dict[str, float], Forgetting]:
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.dtype_policy)
    steps, rounds = config.rounds(
        kmmft.data.steps_per_epoch(source, "train", config.batch_size)
    )
    with kmmft.training.make_strategy(config.strategy).scope():
        model = build_model(config, source.features["label"].names)
        optimizer = kmmft.training.adamw(
            config.learning_rate,
            total_steps=steps * rounds,
            weight_decay=config.weight_decay,
        )
        loss = model.default_loss(config.label_smoothing, config.focal_gamma)
        model.compile(optimizer, loss)
    validation = build_data(config, source, "validation", model)
    inputs, _ = next(iter(validation.unbatch().batch(256)))
    meter = ForgettingMeter(model, batch=inputs, directory=run.path)
    meter.start()
    seconds = kmmft.training.resumable_fit(
        model,
        functools.partial(build_data, config, source, "train", model),
        run=run,
        steps_per_epoch=steps,
        epochs=rounds,
        validation_data=validation,
        monitor="val_accuracy",
        patience=config.patience,
        class_weight=class_weights(source, "train") if config.class_weights else None,
    )
    samples = steps * config.batch_size * len(run.history())
    metrics = {
        "train/seconds": seconds,
        "train/samples_per_second": samples / seconds,
    }
    return model, metrics, meter.finish()


def test(
    config: Config,
    source: kmmft.data.RecordSource,
    model: kmmft.models.FusionClassifier,
    absent: str | None = None,
) -> Predictions:
    """Answers the test split, with one modality taken away from all its examples."""

    def take_away(batch):
        name = f"{absent}_present"
        return {**batch, name: tf.zeros_like(batch[name])}

    dataset = build_data(config, source, "test", model, keep_records=True)
    if absent:
        dataset = dataset.map(take_away)
    return kmmft.evaluation.predict_records(model, dataset)


def main(config: Config) -> dict[str, float]:
    """Trains, tests, reports and exports; returns what metrics.json holds."""
    return kmmft.evaluation.show_run(config, run_once, accuracy_table)


def run_once(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    source = open_data(config)
    with kmmft.data.clear_data_errors(source):
        model, metrics, forgetting = train(config, source, run)
        predictions = test(config, source, model)
        tested = {
            "test": predictions,
            "image_only": test(config, source, model, absent="text"),
            "text_only": test(config, source, model, absent="image"),
        }
    for prefix, answers in tested.items():
        scores = answers.metrics(model.class_names)
        metrics |= {f"{prefix}/{name}": value for name, value in scores.items()}
    metrics |= forgetting.metrics()
    metrics["peak_memory_mb"] = kmmft.evaluation.peak_memory_mb()
    if not (run.export / "1").exists():
        records = kmmft.data.first_records(source, "test", 3)
        trained_on = kmmft.data.first_records(source, "train", 300)
        card = kmmft.export.ModelCard.from_run(
            run, "Image-text classification", source, metrics
        )
        kmmft.export.export_bundle(
            model,
            run.export,
            model.raw_columns(records),
            card=card,
            version=1,
            training_sample=model.raw_columns(trained_on),
        )
    kmmft.evaluation.report_classifier(
        run,
        predictions,
        title="Image-text classification",
        source=source,
        split="test",
        class_names=model.class_names,
        text="text",
        metrics=metrics,
        tables=[accuracy_table(metrics), *forgetting.tables()],
        sections=[forgetting.section()],
        notes=__doc__.split("\n", 1)[0],
    )
    run.write_metrics(metrics)
    return metrics


def accuracy_table(metrics: dict[str, float]) -> Table:
    """Test accuracy with both modalities and with either alone."""
    names = {"test": "image + text", "image_only": "image", "text_only": "text"}
    return Table(
        "Test accuracy, by what the model is given",
        ["given", "accuracy", "macro F1"],
        [
            [label, metrics[f"{prefix}/accuracy"], metrics[f"{prefix}/macro_f1"]]
            for prefix, label in names.items()
        ],
        highlight=0,
    )


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
