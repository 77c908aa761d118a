"""How good, how large and how fast a model is."""

import pathlib

import tensorflow as tf

import kmmft
from kmmft.evaluation import Predictions
from kmmft.models import FusionClassifier


def test(
    model: FusionClassifier, data: tf.data.Dataset
) -> tuple[Predictions, dict[str, float]]:
    """Answers to the test split, with its records, and how good they are."""
    predictions = kmmft.evaluation.predict_records(model, data).with_unknown_class()
    names = predictions.class_names(model.class_names)
    scores = predictions.metrics(names, "question_type")
    tested = {f"test/{name}": value for name, value in scores.items()}
    return predictions, {**tested, "parameters": model.count_params()}


def measured(
    model: FusionClassifier, base: pathlib.Path, raw: dict[str, list]
) -> dict[str, float]:
    """Size and latency of the served model, which is exported if it is not yet.

    A latency of many seconds is not measured, and left out.
    """
    if not (base / "1").exists():
        kmmft.export.export_model(model, base, raw, version=1)
    served = kmmft.export.load_variant(base / "1")
    inputs = {name: tf.constant(values) for name, values in raw.items()}
    milliseconds = kmmft.export.measure_latency(
        served.function, inputs, batch_sizes=(1, 32), seconds=0.5
    )
    return {
        "size_mb": kmmft.export.megabytes(base / "1"),
        **{f"latency_ms/batch_{rows}": ms for rows, ms in milliseconds.items()},
    }


def served_export(
    run_or_file: str, run: kmmft.training.RunDirectory, name: str
) -> pathlib.Path:
    """Where a trained model's export is, or, if it has none, will be in this run."""
    export = pathlib.Path(run_or_file, "export")
    found = run_or_file and (export / "1").exists()
    return export if found else run.path / name


def with_prefix(prefix: str, metrics: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in metrics.items()}
