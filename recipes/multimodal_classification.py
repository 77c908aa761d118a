"""Classifies examples of image, text, sound and table, of which some may be missing.

Data: `--csv FILE`, a manifest with a column of labels and columns of paths of images
and of sounds, of texts, of numbers and of categories, or some of them; or `--data DIR`,
records of `kmmft.data.schema.labelled`. Cells may be empty. The served model takes an
empty string for an image, a sound, a text or a category that is missing, and NaN for a
number: modality dropout prepares it for that, and a table shows what it is worth with
each subset of its modalities. With `--compare_seeds 3` another table shows what
modality dropout, class weights and the focal loss change. The report also shows how far
each layer moved from its pretrained start.

    python -m recipes.multimodal_classification --preset smoke
    python -m recipes.multimodal_classification --preset sentiment --csv posts.csv
    python -m recipes.multimodal_classification --preset entailment
    python -m recipes.multimodal_classification --preset medical
    python -m recipes.multimodal_classification --preset sounds
    python -m recipes.multimodal_classification --preset open_clip_art

`sentiment` takes your own manifest. `entailment` says whether a picture of easy-VQA
entails, contradicts or leaves open a hypothesis. `medical` has drawn pictures, reports,
numbers and few examples of its worst class. `sounds` has tones, or your own with
`--sounds FILE`, beside drawn pictures and texts of which a part is wrong.
`open_clip_art` tells eight kinds of drawings by picture and title, above frozen
encoders.
"""

import dataclasses
import functools

import keras
import tensorflow as tf

import kmmft
from kmmft.evaluation import Forgetting, ForgettingMeter, Predictions

from .multimodal.data import open_data, read_columns, table_columns
from .multimodal.heads import class_weights, compare_heads, comparison_tables
from .multimodal.settings import FUSIONS, PRESETS, Config


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

    flips = config.horizontal_flip and "image" in model.encoders
    return kmmft.data.build_dataset(
        source,
        split=split,
        preprocess=model.decode_record,
        augment=augment if flips else None,
        batch_preprocess=lambda batch: model.prepare_batch(batch, keep_records),
        **config.reading_from(start_step, input_context),
    )


def build_encoders(
    config: Config, source: kmmft.data.RecordSource
) -> dict[str, keras.Model]:
    """An encoder for each modality that the records have."""
    encoders = {}
    if "image" in source.features:
        encoders["image"] = kmmft.encoders.ImageEncoder.from_preset(
            config.image_encoder, image_size=config.image_size
        )
        encoders["image"].trainable = config.train_image_encoder
    if "text" in source.features:
        encoders["text"] = kmmft.encoders.TextEncoder.from_preset(
            config.text_encoder, sequence_length=config.sequence_length
        )
        encoders["text"].trainable = config.train_text_encoder
    if "audio" in source.features:
        encoders["audio"] = config.build_audio_encoder()
    numbers, categories = table_columns(source)
    if numbers or categories:
        values = read_columns(source, [*numbers, *categories])
        encoders["table"] = kmmft.encoders.TabularEncoder.from_table(
            {name: values[name] for name in numbers},
            {name: values[name] for name in categories},
            hidden_dim=config.hidden_dim,
        )
    return encoders


def build_model(
    config: Config, class_names: list[str], encoders: dict[str, keras.Model]
) -> kmmft.models.FusionClassifier:
    """The classifier above these encoders."""
    fusion = FUSIONS[config.fusion](
        config.hidden_dim, modality_dropout_rate=config.modality_dropout_rate
    )
    return kmmft.models.FusionClassifier(
        encoders,
        fusion=fusion,
        class_names=class_names,
        hidden_dims=[config.hidden_dim] if config.fusion == "bilinear" else [],
        dropout_rate=config.dropout_rate,
        missing_modalities=True,
    )


def weights_of_classes(
    config: Config, source: kmmft.data.RecordSource
) -> dict[int, float] | None:
    """By class, if they are asked for; otherwise the labels are not read."""
    if not config.class_weights:
        return None
    return class_weights(read_columns(source, ["label"])["label"])


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
        model = build_model(
            config, source.features["label"].names, build_encoders(config, source)
        )
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
        class_weight=weights_of_classes(config, source),
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
) -> tuple[Predictions, dict[str, float]]:
    """Answers the test split with each subset of its modalities.

    Returns:
        The answers with all modalities, and the scores with each subset.
    """
    dataset = build_data(config, source, "test", model, keep_records=True)
    answers = kmmft.evaluation.predict_subsets(model, dataset)
    predictions = answers[tuple(model.encoders)]
    scores = predictions.metrics(model.class_names)
    metrics = {f"test/{name}": value for name, value in scores.items()}
    return predictions, metrics | kmmft.evaluation.subset_metrics(
        answers, model.class_names
    )


def compare(
    config: Config,
    source: kmmft.data.RecordSource,
    model: kmmft.models.FusionClassifier,
    run: kmmft.training.RunDirectory,
) -> dict[str, float]:
    """Trains the head in several ways above the same frozen features.

    The table's encoder, which is not frozen, starts anew each time.
    """
    still = dataclasses.replace(config, horizontal_flip=False)
    train_split, test_split = (
        kmmft.evaluation.frozen_features(model, build_data(still, source, split, model))
        for split in ("train", "test")
    )

    def build_again(changed: Config) -> kmmft.models.FusionClassifier:
        encoders = {
            name: type(encoder).from_config(encoder.get_config())
            if encoder.trainable
            else encoder
            for name, encoder in model.encoders.items()
        }
        return build_model(changed, model.class_names, encoders)

    directory = run.path / "compared"
    return compare_heads(config, directory, build_again, train_split, test_split)


def main(config: Config) -> dict[str, float]:
    """Trains, tests, reports and exports; returns what metrics.json holds."""
    return kmmft.evaluation.show_run(config, run_once, kmmft.evaluation.subset_table)


def run_once(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    source = open_data(config)
    with kmmft.data.clear_data_errors(source):
        model, metrics, forgetting = train(config, source, run)
        predictions, scores = test(config, source, model)
        metrics |= scores
        if config.compare_seeds:
            metrics |= compare(config, source, model, run)
    metrics |= forgetting.metrics()
    metrics["peak_memory_mb"] = kmmft.evaluation.peak_memory_mb()
    run.write_model(model)
    if not (run.export / "1").exists():
        export(run, source, model, metrics)
    kmmft.evaluation.report_classifier(
        run,
        predictions,
        title="Multimodal classification",
        source=source,
        split="test",
        class_names=model.class_names,
        text="text" if "text" in source.features else "id",
        metrics=metrics,
        tables=[
            kmmft.evaluation.subset_table(metrics),
            *comparison_tables(metrics, config.compare_seeds),
            *forgetting.tables(),
        ],
        sections=[forgetting.section()],
        notes=__doc__.split("\n", 1)[0],
    )
    run.write_metrics(metrics)
    return metrics


def export(
    run: kmmft.training.RunDirectory,
    source: kmmft.data.RecordSource,
    model: kmmft.models.FusionClassifier,
    metrics: dict[str, float],
) -> None:
    records = kmmft.data.first_records(source, "test", 3, on_error="skip")
    trained_on = kmmft.data.first_records(source, "train", 300, on_error="skip")
    title = "Multimodal classification"
    kmmft.export.export_bundle(
        model,
        run.export,
        model.raw_columns(records),
        card=kmmft.export.ModelCard.from_run(run, title, source, metrics),
        version=1,
        training_sample=model.raw_columns(trained_on),
    )


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
