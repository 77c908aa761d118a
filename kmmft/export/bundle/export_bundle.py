"""Exports a model with all that an operator needs beside it."""

import json
import logging
import os
import pathlib
import platform
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from kmmft.data.decoded_rows import MAX_PIXELS
from kmmft.export.bundle.deployment import write_deployment
from kmmft.export.bundle.drift_reference import FEWEST_ROWS, write_drift_reference
from kmmft.export.bundle.generated_client import client_source
from kmmft.export.bundle.latency import measure_latency
from kmmft.export.bundle.model_card import Measured, ModelCard
from kmmft.export.bundle.serving_configs import write_serving_configs
from kmmft.export.bundle.signature_table import signature_table, write_signature_table
from kmmft.export.bundle.warmup import write_warmup_requests
from kmmft.export.directory_size import megabytes
from kmmft.export.export_model import model_signatures
from kmmft.export.saved_model import CheckedModel, export_saved_model
from kmmft.export.signature import Signature
from kmmft.training.whole_files import write_whole

logger = logging.getLogger(__name__)


def export_bundle(
    model: keras.Model,
    path: str | os.PathLike,
    examples: Mapping[str, Sequence],
    *,
    card: ModelCard,
    name: str | None = None,
    tolerance: float = 1e-4,
    version: int | None = None,
    max_batch_size: int = 32,
    latency_target_ms: int = 200,
    training_sample: Mapping[str, Sequence] | None = None,
    **options: Any,
) -> pathlib.Path:
    """Exports a model as `export_model` does, with everything to serve it.

    In the version's directory: `README.md`, the model card; in its `assets.extra` the
    result of the parity check, the table of signatures, and warm-up requests for
    TensorFlow Serving. Beside the versions, in `serving/`: `batching.config`,
    `models.config` (labels `stable` and `canary`: see `promote`), `monitoring.config`,
    `docker-compose.yml`, Kubernetes manifests, and `client.py`, a Python client for
    REST and gRPC that stands alone.

    Args:
        model: A model of `kmmft.models`.
        path: Base directory; the model is written to `path/VERSION/`.
        examples: Real raw inputs by name, a few of each; also for warming up. They
            are kept beside the model.
        card: What is to be said of the model.
        name: Its name on the server, of letters, digits, `_`, `.` and `-`. Default:
            the model's own.
        tolerance: As in `export_model`.
        version: As in `export_model`.
        max_batch_size: How many rows the server puts together at most.
        latency_target_ms: 95th percentile of the latency at which Kubernetes adds pods.
        training_sample: Raw inputs as `examples`, some hundred rows of the training
            data: `kmmft-serve` compares live requests with how
            they are distributed. None of them is kept. Of fewer than 50 nothing can
            be said: a warning, and requests are not compared.
        **options: As in `export_model`.

    Returns:
        The directory of the version.

    Raises:
        ValueError: As `export_model`, or if `name` does not fit into an address.

    Example::

        kmmft.export.export_bundle(
            model,
            "runs/mine/export",
            {"image": [png_bytes], "text": ["a red circle"]},
            card=kmmft.export.ModelCard("Drawings and their titles"),
            class_names=["circle", "square"],
        )
    """
    name = _checked_name(model.name if name is None else name)
    if max_batch_size < 1:
        raise ValueError(
            f"`max_batch_size` must be positive. Received: {max_batch_size}."
        )

    signatures = model_signatures(model, **options)

    def finish(checked: CheckedModel) -> None:
        write_warmup_requests(checked.directory, name, checked.requests)
        if training_sample is not None:
            _keep_distribution(checked, signatures, training_sample)
        measured = _measure(checked, name, model, options)
        write_whole(checked.directory / "README.md", card.render(measured))

    directory = export_saved_model(
        path,
        signatures,
        resources=[model],
        examples=examples,
        tolerance=tolerance,
        version=version,
        finish=finish,
    )
    base, number = directory.parent, int(directory.name)
    write_serving_configs(base, name, number, max_batch_size)
    write_deployment(base, name, megabytes(directory), latency_target_ms)
    source = client_source(name, number, signature_table(directory))
    write_whole(base / "serving" / "client.py", source)
    return directory


def _measure(
    checked: CheckedModel, name: str, model: keras.Model, options: Mapping[str, Any]
) -> Measured:
    directory = checked.directory
    parity = directory / "assets.extra" / "parity.json"
    function = checked.functions["serving_default"]
    return Measured(
        name=name,
        version=checked.version,
        parameters=model.count_params(),
        size_mb=megabytes(directory),
        weights_mb=megabytes(directory / "variables"),
        latency=measure_latency(function, checked.requests["serving_default"]),
        hardware=_hardware(),
        signatures=write_signature_table(directory),
        parity=json.loads(parity.read_text()),
        limits=_limits(model, options),
    )


def _keep_distribution(
    checked: CheckedModel,
    signatures: Mapping[str, Signature],
    training_sample: Mapping[str, Sequence],
) -> None:
    count = min(map(len, training_sample.values()))
    if count < FEWEST_ROWS:
        logger.warning(
            "A training sample of %d rows is too small to tell drift from", count
        )
        return
    sample = signatures["serving_default"].example_inputs(training_sample)
    write_drift_reference(
        checked.directory, checked.functions, {"serving_default": sample}
    )


def _limits(model: keras.Model, options: Mapping[str, Any]) -> list[str]:
    """What the served graph refuses or leaves out, a sentence each."""
    tasks = getattr(model, "tasks", {"": model})
    limits = []
    for task in tasks.values():
        for modality, encoder in task.encoders.items():
            if hasattr(encoder, "sequence_length"):
                length = encoder.sequence_length
                limits.append(f"`{modality}`: {length} tokens are read, no more.")
        sounds = {
            modality: encoder
            for modality, encoder in task.encoders.items()
            if hasattr(encoder, "audio_seconds")
        }
        for modality, encoder in sounds.items():
            limits.append(
                f"`{modality}`: WAV of PCM or floats, of which "
                f"{encoder.audio_seconds:g} seconds are heard, no more."
            )
        if set(task.file_modalities()) - set(sounds):
            pixels = options.get("max_pixels", MAX_PIXELS)
            limits.append(
                "Images may be JPEG, PNG, GIF (first frame), WebP (not animated) or "
                f"BMP (24 or 32 bit), of at most {pixels:,} pixels. EXIF orientation "
                "is not applied."
            )
        if task.file_modalities():
            limits.append(
                "A bad file fails its whole batch."
                if options.get("strict")
                else "A bad file gets an `error` in its row; other rows are answered."
            )
    return list(dict.fromkeys(limits))


def _hardware() -> str:
    gpus = tf.config.list_physical_devices("GPU")
    device = f"{len(gpus)} GPU" if gpus else f"{os.cpu_count()} CPU cores"
    return f"{device}, {platform.machine()}, TensorFlow {tf.__version__}"


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise ValueError(
            "`name` must be of letters, digits, `_`, `.` and `-`. "
            f"Received: {name!r}. It is part of the server's addresses."
        )
    return name
