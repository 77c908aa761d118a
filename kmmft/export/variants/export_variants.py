"""Exports small and fast variants, measures them, and refuses those that lose."""

import dataclasses
import logging
import math
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kmmft.export.bundle.latency import measure_latency
from kmmft.export.directory_size import megabytes
from kmmft.export.export_model import export_model
from kmmft.export.variants.frozen import FROZEN_KINDS, export_frozen
from kmmft.export.variants.litert import LITERT_KINDS, write_litert
from kmmft.export.variants.loaded_variant import LoadedVariant, load_variant
from kmmft.export.variants.onnx_model import ONNX_KINDS, write_onnx
from kmmft.export.variants.small_weights import SMALL_KINDS, export_small_weights
from kmmft.export.variants.variant import Variant, write_variants

logger = logging.getLogger(__name__)

KINDS = (*FROZEN_KINDS, *SMALL_KINDS, *LITERT_KINDS, *ONNX_KINDS)
BASELINE = "float32"
# Of how many examples each export's answers are compared with this process'.
_CHECKED_ROWS = 4
# How long each batch size is repeated.
_TIMED_SECONDS = 1.0

Answer = Callable[[Mapping[str, Sequence]], dict[str, np.ndarray]]


def export_variants(
    model: keras.Model,
    path: str | os.PathLike,
    examples: Mapping[str, Sequence],
    evaluate: Callable[[Answer], float],
    *,
    variants: Sequence[str] = KINDS,
    max_accuracy_drop: float = 0.005,
    baseline: str | os.PathLike | None = None,
    batch_sizes: Sequence[int] = (1, 8, 32),
    **options: Any,
) -> list[Variant]:
    """Exports variants of a model, each measured and gated on real data.

    Each is written to `path/NAME`, over an older one of that name, and loaded again
    before it is measured. One whose score is more than `max_accuracy_drop` below that
    of the float32 export is removed, and so is one that cannot be made; the table says
    why. `path/variants.json` keeps the table.

    Args:
        model: A model of `kmmft.models`. It is not changed.
        path: Directory of the variants.
        examples: Real raw inputs by name. The first four are compared with this
            process; up to 200 calibrate `litert_int8_calibrated`, so give as many.
        evaluate: Called with a function that answers raw inputs: from a dict of
            sequences to a dict of arrays, as `load_variant` gives. Returns the score on
            the test set; higher is better.
        variants: Kinds to make, out of `frozen` (see `export_frozen`), `float16`,
            `bfloat16`, `int8` (see `export_small_weights`), `litert_float32`,
            `litert_int8`, `litert_int8_calibrated` (see `write_litert`), `onnx` and
            `onnx_int8` (see `write_onnx`).
        max_accuracy_drop: How far below the float32 export a score may be.
        baseline: The float32 export, if there is one; else it is made, as
            `path/float32`.
        batch_sizes: Numbers of rows that are timed.
        **options: As in `export_model`.

    Returns:
        `Variant`s, float32 first, then in the order of `variants`.

    Raises:
        ValueError: If a kind is unknown, an example is missing, or a score is no finite
            number.

    Example::

        def accuracy(answer):
            return np.mean(answer(raw)["label"] == labels)

        variants = kmmft.export.export_variants(model, "variants", raw, accuracy)
        kmmft.export.choose_variant(variants, max_size_mb=30).directory
    """
    _check(model, examples, variants, max_accuracy_drop)
    base = pathlib.Path(path)
    base.mkdir(parents=True, exist_ok=True)
    measure = _Measure(model, examples, evaluate, batch_sizes)
    checked = {name: values[:_CHECKED_ROWS] for name, values in examples.items()}
    if baseline is None:
        baseline = _replace(
            base / BASELINE, lambda new: export_model(model, new, checked, **options)
        )
    first = measure(BASELINE, pathlib.Path(baseline))
    table = [dataclasses.replace(first, drop=0.0)]
    for name in variants:
        make = _writer(name)
        given = examples if make is write_litert else checked
        try:
            directory = _replace(
                base / name,
                lambda new: make(model, new, given, kind=name, **options),  # noqa: B023
            )
        except (ImportError, ValueError) as error:
            row = Variant(name, refused=str(error))
        else:
            row = _gate(measure(name, directory), first.score, max_accuracy_drop)
        logger.info("Variant %s: %s", name, row.refused or f"score {row.score:.4f}")
        table.append(row)
    write_variants(base, table)
    return table


def _writer(kind: str) -> Callable:
    if kind in FROZEN_KINDS:
        return export_frozen
    if kind in SMALL_KINDS:
        return export_small_weights
    return write_litert if kind in LITERT_KINDS else write_onnx


class _Measure:
    """Loads a variant and measures what its user will see."""

    def __init__(self, model, examples, evaluate, batch_sizes):
        names = model.serving_inputs()
        self.inputs = {name: tf.constant(examples[name][:32]) for name in names}
        self.evaluate = evaluate
        self.batch_sizes = batch_sizes

    def __call__(self, name: str, directory: pathlib.Path) -> Variant:
        loaded: LoadedVariant = load_variant(directory)
        score = float(self.evaluate(loaded))
        if not math.isfinite(score):
            raise ValueError(
                "`evaluate` must return a finite number. "
                f"Received: {score} for the variant {name!r}."
            )
        return Variant(
            name,
            directory=str(directory),
            size_mb=megabytes(directory),
            latency_ms=measure_latency(
                loaded.function, self.inputs, self.batch_sizes, seconds=_TIMED_SECONDS
            ),
            score=score,
        )


def _gate(variant: Variant, expected: float, max_accuracy_drop: float) -> Variant:
    drop = expected - variant.score
    variant = dataclasses.replace(variant, drop=drop)
    # Scores are shares of whole rows: what lies within rounding is no loss.
    if drop <= max_accuracy_drop + 1e-9:
        return variant
    shutil.rmtree(variant.directory)
    reason = (
        f"score {variant.score:.4f} is {drop:.4f} below float32, "
        f"more than max_accuracy_drop={max_accuracy_drop:g}"
    )
    return dataclasses.replace(variant, directory=None, refused=reason)


def _replace(
    directory: pathlib.Path, write: Callable[[pathlib.Path], Any]
) -> pathlib.Path:
    """Writes beside the directory and renames; an older one there goes in any case."""
    if directory.exists():
        shutil.rmtree(directory)
    with tempfile.TemporaryDirectory(prefix=".variant-", dir=directory.parent) as new:
        written = pathlib.Path(new, directory.name)
        write(written)
        written.rename(directory)
    return directory


def _check(model, examples, variants, max_accuracy_drop) -> None:
    unknown = [name for name in variants if name not in KINDS]
    if unknown or len(set(variants)) < len(variants):
        raise ValueError(
            f"`variants` must be different ones of {', '.join(KINDS)}. "
            f"Received: {list(variants)}."
        )
    if not max_accuracy_drop >= 0:
        raise ValueError(
            f"`max_accuracy_drop` must not be negative. Received: {max_accuracy_drop}."
        )
    missing = [
        name for name in model.serving_inputs() if not len(examples.get(name, []))
    ]
    if missing:
        raise ValueError(
            f"There must be examples of all raw inputs. Received: none of {missing}."
        )
