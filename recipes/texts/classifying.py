"""Classes, relations and numbers of texts and of pairs of texts."""

import functools

import numpy as np
import tensorflow as tf

import kmmft
import tfrecords_tools
from kmmft.evaluation import Table
from kmmft.models import FusionClassifier

from . import images
from .settings import Config

# Columns of the made-up texts by task: text, and class or number.
TEMPLATE_COLUMNS = {
    "classify": ("text", "label"),
    "relate": ("marked", "label"),
    "regress": ("story", "number"),
}
MARKS = ("<e1>", "</e1>", "<e2>", "</e2>")
TITLES = {
    "classify": "Text classification",
    "relate": "Relation extraction",
    "regress": "Text regression",
}


def open_data(config: Config) -> kmmft.data.RecordSource:
    """Opens the data, after building them from the file."""
    config.check_data()
    directory = config.data or config.data_folder / "texts/1.0.0"
    if not (config.data or directory.exists()):
        build_records(config)
    source = kmmft.data.open_source(directory)
    schema = "rated" if config.task == "regress" else "labelled"
    label = dict(source.features.items()).get("label")
    has_names = getattr(label, "names", None) is not None
    if "text" not in source.features or has_names != (schema == "labelled"):
        raise ValueError(
            f"`--task {config.task}` needs records of kmmft.data.schema.{schema} with "
            f"a text. Received: {config.data}, records with {sorted(source.features)}."
        )
    if config.task == "relate":
        check_marks(source)
    return kmmft.data.check_splits(source)


def check_marks(source: kmmft.data.RecordSource) -> None:
    """Raises unless each text marks two entities."""
    for split in source.splits:
        count = source.splits[split].num_records
        for record in kmmft.data.first_records(source, split, count, on_error="skip"):
            if any(record["text"].count(mark) != 1 for mark in MARKS):
                raise ValueError(
                    "A text must have one pair of <e1> </e1> and one of <e2> </e2> "
                    f"around the entities whose relation it tells. Received: record "
                    f"{record['id']!r} of {split}, {record['text']!r:.80}."
                )


def build_records(config: Config) -> None:
    columns = (config.text_column, config.label_column)
    manifest, split_column = config.files, config.split_column
    image_column = config.image_column
    if manifest == "shapes":
        manifest = kmmft.data.write_colored_shapes(config.data_folder / "files")
        columns, split_column, image_column = ("text", "label"), "split", "image"
    if manifest == "templates":
        manifest = kmmft.data.write_template_texts(config.data_folder / "files").table
        columns, split_column = TEMPLATE_COLUMNS[config.task], "split"
        if config.is_pairs:
            columns = ("text", "pair_label")
    text, target = columns
    kind = "target_column" if config.task == "regress" else "label_column"
    tfrecords_tools.build_manifest(
        manifest=manifest,
        output_dir=config.data_folder,
        name="texts",
        image_column=image_column or None,
        text_column=text,
        text_pair_column=config.text_pair_column or None,
        split_column=split_column or None,
        options=tfrecords_tools.BuildOptions(skip_bad=config.skip_bad),
        **{kind: target},
    )


def build_data(
    config: Config,
    source: kmmft.data.RecordSource,
    split: str,
    model: FusionClassifier,
    start_step: int | None = None,
    input_context: tf.distribute.InputContext | None = None,
    keep_records: bool = False,
) -> tf.data.Dataset:
    """Batches of (inputs, label); endless and shuffled if `start_step` is given."""
    wanted = ("id", "text", "text_pair", "label", "image")
    names = [name for name in wanted if name in source.features]

    def prepare(batch):
        raw = batch
        if "text_pair" in names:
            pair = tf.stack([batch["text"], batch["text_pair"]], axis=1)
            raw = {**batch, "text": pair}
        inputs, label = model.prepare_batch(raw)
        return {**batch, **inputs} if keep_records else (inputs, label)

    return kmmft.data.build_dataset(
        source,
        split=split,
        preprocess=lambda record: model.decode_record({n: record[n] for n in names}),
        augment=images.mirroring(config, source),
        batch_preprocess=prepare,
        **config.reading_from(start_step, input_context),
    )


def build_model(
    config: Config, source: kmmft.data.RecordSource, targets: np.ndarray
) -> FusionClassifier:
    pairs = "text_pair" in source.features
    kind = kmmft.encoders.TextPairEncoder if pairs else kmmft.encoders.TextEncoder
    encoder = kind.from_preset(
        config.text_encoder, sequence_length=config.sequence_length
    )
    encoder.trainable = config.train_text_encoder
    encoders, fusion = {"text": encoder}, None
    if images.reads_images(config, source):
        encoders["image"] = images.image_encoder(config, source)
        fusion = images.image_fusion(config)
    regress = config.task == "regress"
    model = FusionClassifier(
        encoders,
        fusion=fusion,
        class_names=["value"] if regress else source.features["label"].names,
        task="regression" if regress else "single_label",
        dropout_rate=config.dropout_rate,
    )
    if regress:
        # So that training need not find the numbers' mean first.
        model.get_layer("logits").bias.assign([targets.mean()])
    return model


def labels_of(source: kmmft.data.RecordSource, split: str) -> np.ndarray:
    """The classes or numbers of all records of a split."""
    records = kmmft.data.read_records(source, split, on_error="skip").map(
        lambda serialized: kmmft.data.parse_record(serialized, source.features)["label"]
    )
    return np.array(list(records.as_numpy_iterator()))


def run_once(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    source = open_data(config)
    with kmmft.data.clear_data_errors(source):
        learnt = labels_of(source, "train")
        floors = find_floors(config, learnt, labels_of(source, "test"))
        model, trained = kmmft.training.fit_classifier(
            config,
            run,
            lambda: build_model(config, source, learnt),
            functools.partial(build_data, config, source),
            kmmft.data.steps_per_epoch(source, "train", config.batch_size),
            monitor="val_mae" if config.task == "regress" else "val_accuracy",
        )
        finish = finish_numbers if config.task == "regress" else finish_classes
        metrics = finish(config, run, model, source, floors | trained)
    run.write_metrics(metrics)
    return metrics


def find_floors(
    config: Config, learnt: np.ndarray, targets: np.ndarray
) -> dict[str, float]:
    """What the test split gives without its texts.

    It is asked for before training also because labels of which there are no metrics
    must not cost it.
    """
    if config.task == "regress":
        return regression_scores("mean", targets, np.full_like(targets, learnt.mean()))
    unknown = int((np.concatenate([learnt, targets]) < 0).sum())
    if unknown:
        # As of data sets that keep the classes of their test split to themselves.
        raise ValueError(
            "All records of train and test must have a class. Received: "
            f"{unknown} without one. Leave them out, or test on another split."
        )
    floor = kmmft.evaluation.majority_floor(learnt.tolist(), targets.tolist())
    return {"most_frequent/accuracy": floor}


def regression_scores(
    prefix: str, targets: np.ndarray, numbers: np.ndarray
) -> dict[str, float]:
    return {
        f"{prefix}/{name}": value
        for name, value in kmmft.metrics.regression_metrics(targets, numbers).items()
        # A constant has no correlation, and so has one number.
        if np.isfinite(value)
    }


def finish_classes(config, run, model, source, metrics) -> dict[str, float]:
    """Tests, exports and reports a classifier."""
    predictions = kmmft.evaluation.predict_records(
        model, build_data(config, source, "test", model, keep_records=True)
    )
    scores = predictions.metrics(model.class_names)
    metrics = metrics | {f"test/{name}": value for name, value in scores.items()}
    export(config, run, model, source, metrics)
    kmmft.evaluation.report_classifier(
        run,
        predictions,
        title=TITLES[config.task],
        source=source,
        split="test",
        class_names=model.class_names,
        text="text",
        metrics=metrics,
        tables=[result_table(metrics)],
    )
    return metrics


def finish_numbers(config, run, model, source, metrics) -> dict[str, float]:
    """Tests, exports and reports a regression."""
    records = images.readable_records(config, source, "test")
    raw = raw_columns(model, records)
    predicted = model.classify(raw, config.batch_size)["values"][:, 0]
    targets = np.array([record["label"] for record in records])
    metrics = metrics | regression_scores("test", targets, predicted)
    export(config, run, model, source, metrics)
    farthest = np.abs(predicted - targets).argsort()[::-1][:48]
    kmmft.evaluation.report_examples(
        run,
        title=TITLES[config.task],
        metrics=metrics,
        tables=[result_table(metrics)],
        examples=[
            kmmft.evaluation.Example(
                records[row].get("image"),
                "\n".join(np.atleast_1d(raw["text"][row])),
                f"{targets[row]:.2f}",
                f"{predicted[row]:.2f}",
                id=records[row]["id"],
            )
            for row in farthest
        ],
    )
    return metrics


def raw_columns(model: FusionClassifier, records: list[dict]) -> dict:
    """What the model is asked about these records."""
    raw = model.raw_columns(records)
    if "text_pair" in records[0]:
        raw["text"] = [[one["text"], one["text_pair"]] for one in records]
    return raw


def export(config, run, model, source, metrics) -> None:
    """Writes the model, and what is served of it."""
    metrics["peak_memory_mb"] = kmmft.evaluation.peak_memory_mb()
    run.write_model(model)
    if (run.export / "1").exists():
        return
    card = kmmft.export.ModelCard.from_run(run, TITLES[config.task], source, metrics)
    records = kmmft.data.first_records(source, "test", 3, on_error="skip")
    raw = raw_columns(model, records)
    kmmft.export.export_bundle(model, run.export, raw, card=card, version=1)


def result_table(metrics: dict[str, float]) -> Table:
    """The test split's result among its floors."""
    if "test/mae" in metrics:
        names = {"mean": "mean of the training data", "test": "this model"}
        columns = {"mae": "MAE", "rmse": "RMSE", "pearson": "Pearson r"}
    else:
        names = {"most_frequent": "most frequent class", "test": "this model"}
        columns = {"accuracy": "accuracy", "macro_f1": "macro F1"}
    rows = [
        [label, *(metrics.get(f"{prefix}/{column}") for column in columns)]
        for prefix, label in names.items()
    ]
    if "test/mae" in metrics:
        rows = [
            [f"{x:.3f}" if isinstance(x, float) else x for x in row] for row in rows
        ]
    return Table("Test split", ["", *columns.values()], rows, highlight=1)
