"""Trains an image and a text encoder to meet in one space, and searches with them.

Data: `--data DIR`, records of `kmmft.data.schema.image_text`, or `--manifest FILE`,
a CSV, TSV or JSONL file with a column of image paths and one of captions. The preset
open_clip_art takes 2,100 drawings from two Debian packages (`apt-get install
openclipart-png openclipart-svg`). With `--flyp` the data are labelled images, and
the captions are made of the names of their classes.

    python -m recipes.contrastive --preset smoke
    python -m recipes.contrastive --preset open_clip_art --variants --max_size_mb 40
    python -m recipes.contrastive --manifest pairs.csv --batch_size 512 \\
        --micro_batch_size 64

The preset open_clip_art reaches 35.8 % of mean recall among 252 test pictures, where
ridge regression between the frozen encoders reaches 32.2 %.

`--no_train_text_encoder` locks the text encoder, `--no_train_image_encoder` the image
encoder (LiT). The run directory keeps `model.keras` for `recipes.zero_shot` and
`recipes.search`, and serves `encode_image`, `encode_text` and `rank` from `export/1`,
with `--flyp` also `zero_shot`.
"""

import functools
from collections.abc import Callable

import keras
import tensorflow as tf

import kmmft
from kmmft.evaluation import Table

from .pairs.records import open_pairs
from .retrieval.settings import LOSSES, PRESETS, Config
from .retrieval.variants import index_table, variants_table


def build_data(
    config: Config,
    source: kmmft.data.RecordSource,
    model: kmmft.models.DualEncoder,
    start_step: int = 0,
    input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Endless, shuffled training batches; another caption of a record each time."""
    change = kmmft.data.ImageAugmentation(
        crop_area=(config.smallest_crop, 1.0), horizontal_flip=config.horizontal_flip
    )
    caption = caption_function(config, source)

    def augment(record, seed):
        text = caption(record, seed)
        return {
            "image": change(record["image"], seed),
            "text": text,
            # The same words for two images: neither is the other's negative.
            "example_group": tf.strings.to_hash_bucket_fast(text, 2**62),
        }

    return kmmft.data.build_dataset(
        source,
        split="train",
        preprocess=model.decode_record,
        augment=augment,
        batch_preprocess=model.prepare_batch,
        **config.reading_from(start_step, input_context),
    )


def caption_function(config: Config, source: kmmft.data.RecordSource) -> Callable:
    if not config.flyp:
        return lambda record, seed: kmmft.data.choose_caption(record["captions"], seed)
    names = source.features["label"].names
    captions = [config.template.replace("{}", name) for name in names]
    return lambda record, seed: tf.gather(captions, record["label"])


def build_model(config: Config) -> kmmft.models.DualEncoder:
    image_encoder = kmmft.encoders.ImageEncoder.from_preset(
        config.image_encoder,
        image_size=config.image_size,
        resize_mode=config.resize_mode,
    )
    image_encoder.trainable = config.train_image_encoder
    text_encoder = kmmft.encoders.TextEncoder.from_preset(
        config.text_encoder, sequence_length=config.sequence_length
    )
    text_encoder.trainable = config.train_text_encoder
    if config.freeze_batch_norm:
        kmmft.encoders.freeze_batch_norm(image_encoder)
    width = config.projection_dim or text_encoder.output_dim
    rates = {"image": config.head_dropout_rate, "text": 0.0}
    heads = {
        modality: kmmft.layers.ProjectionHead(
            width, input_dropout_rate=rate, name=f"{modality}_projection"
        )
        for modality, rate in rates.items()
    }
    siglip = config.loss == "siglip"
    return kmmft.models.DualEncoder(
        {"image": image_encoder, "text": text_encoder},
        projections=heads,
        logit_scale=10.0 if siglip else 1 / config.temperature,
        logit_bias=-10.0 if siglip else None,
        micro_batch_size=config.micro_batch_size or None,
    )


def make_evaluator(config: Config, source: kmmft.data.RecordSource, split: str):
    """What looks at a whole split: retrieval, or the classes' names with --flyp."""
    if config.flyp:
        return kmmft.evaluation.ZeroShotEvaluator(
            source,
            split,
            templates=[config.template],
            prefix="val_",
            max_bad_fraction=config.max_bad_fraction,
        )
    return kmmft.evaluation.RetrievalEvaluator.with_ks_that_fit(
        source, split, max_bad_fraction=config.max_bad_fraction
    )


def train(
    config: Config,
    source: kmmft.data.RecordSource,
    run: kmmft.training.RunDirectory,
) -> tuple[kmmft.models.DualEncoder, dict[str, float]]:
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.dtype_policy)
    steps, rounds = config.rounds(
        kmmft.data.steps_per_epoch(source, "train", config.batch_size)
    )
    with kmmft.training.make_strategy(config.strategy).scope():
        model = build_model(config)
        optimizer = kmmft.training.adamw(
            config.learning_rate,
            total_steps=steps * rounds,
            weight_decay=config.weight_decay,
        )
        model.compile(optimizer, LOSSES[config.loss](config))
    # Before training, which changes the encoders.
    metrics = ridge(config, source, model)
    seconds = kmmft.training.resumable_fit(
        model,
        functools.partial(build_data, config, source, model),
        run=run,
        steps_per_epoch=steps,
        epochs=rounds,
        callbacks=[make_evaluator(config, source, "validation")],
        monitor="val_accuracy" if config.flyp else "val_mean_recall",
        patience=config.patience,
    )
    samples = steps * config.batch_size * len(run.history())
    return model, {
        **metrics,
        "train/seconds": seconds,
        "train/samples_per_second": samples / seconds,
    }


def ridge(
    config: Config, source: kmmft.data.RecordSource, model: kmmft.models.DualEncoder
) -> dict[str, float]:
    """What ridge regression between the encoders gives; also the heads' start."""
    if not config.ridge_baseline and not config.ridge_start:
        return {}
    train, validation, test = (
        kmmft.evaluation.PairedVectors.encode(
            model.encoders, source, split, max_bad_fraction=config.max_bad_fraction
        )
        for split in ("train", "validation", "test")
    )
    metrics = {}
    if config.ridge_baseline:
        metrics = kmmft.evaluation.ridge_baseline(train, validation, test)
    if config.ridge_start:
        kmmft.evaluation.start_from_ridge(model, train, validation)
    return {f"ridge/{name}": value for name, value in metrics.items()}


def main(config: Config) -> dict[str, float]:
    """Trains, tests, reports and exports; returns what metrics.json holds."""
    return kmmft.evaluation.show_run(config, run_once, result_table)


def run_once(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    source = open_pairs(config, class_names=config.flyp)
    with kmmft.data.clear_data_errors(source):
        model, metrics = train(config, source, run)
        test = test_classes if config.flyp else test_retrieval
        scores, report = test(config, source, run, model)
    metrics |= {f"test/{name}": value for name, value in scores.items()}
    metrics["peak_memory_mb"] = kmmft.evaluation.peak_memory_mb()
    run.write_model(model)
    if not (run.export / "1").exists():
        caption = caption_function(config, source)

        def raw(split, count):
            records = kmmft.data.first_records(source, split, count, on_error="skip")
            return {
                "image": [record["image"] for record in records],
                "text": [caption(record, None).numpy() for record in records],
            }

        classes = source.features["label"].names if config.flyp else []
        kmmft.export.export_bundle(
            model,
            run.export,
            raw("test", 3),
            card=kmmft.export.ModelCard.from_run(
                run, "Contrastive fine-tuning", source, metrics
            ),
            version=1,
            class_names=classes,
            templates=[config.template],
            training_sample=raw("train", 300),
        )
    tables = [result_table(metrics)]
    if config.variants:
        tables.append(variants_table(config, model, source, run))
        tables.append(index_table(make_evaluator(config, source, "test").encode(model)))
    for table in tables[1:]:
        kmmft.evaluation.print_table(table)
    report(
        title="Contrastive fine-tuning",
        source=source,
        split="test",
        metrics=metrics,
        tables=tables,
        notes=__doc__.split("\n", 1)[0],
    )
    run.write_metrics(metrics)
    return metrics


def test_retrieval(
    config: Config,
    source: kmmft.data.RecordSource,
    run: kmmft.training.RunDirectory,
    model: kmmft.models.DualEncoder,
) -> tuple[dict[str, float], Callable]:
    """Scores of the test split, and the function that writes the report on it."""
    evaluator = make_evaluator(config, source, "test")
    encoded = evaluator.encode(model)
    report = functools.partial(kmmft.evaluation.report_retrieval, run, encoded)
    return evaluator.metrics(encoded), report


def test_classes(
    config: Config,
    source: kmmft.data.RecordSource,
    run: kmmft.training.RunDirectory,
    model: kmmft.models.DualEncoder,
) -> tuple[dict[str, float], Callable]:
    """The same where the captions are names of classes."""
    evaluator = make_evaluator(config, source, "test")
    predictions = evaluator.predictions(model)
    report = functools.partial(
        kmmft.evaluation.report_classifier,
        run,
        predictions,
        class_names=evaluator.class_names,
        text="id",
    )
    scores = kmmft.evaluation.zero_shot_metrics(predictions, evaluator.class_names)
    return scores, report


def result_table(metrics: dict[str, float]) -> Table:
    """The test split's result, among its floors where there are any."""
    if "test/accuracy" in metrics:
        names = ["accuracy", "balanced_accuracy", "macro_f1"]
        row = ["this model", *(metrics[f"test/{name}"] for name in names)]
        header = ["", *(name.replace("_", " ") for name in names)]
        return Table("Test, by the names of the classes", header, [row])
    names = {"ridge": "ridge regression, frozen encoders", "test": "this model"}
    return kmmft.evaluation.retrieval_table(metrics, names)


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
